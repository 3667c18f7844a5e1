package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ReplayLook is what a replay would copy.
type ReplayLook struct {
	Matched     int64
	Subjects    map[string]int64 // copies by subject, of the first 10,000 subjects; the rest under ""
	First, Last time.Time        // when the originals were created
	FirstRows   []int64          // ids of the first ten, in the order of the copies
}

const lookFirst = 10

// LookReplay counts what a replay would copy, and copies nothing. tell is called after each page with the positions looked at, their
// number, and the copies so far.
func (t *Store) LookReplay(ctx context.Context, db outbox.DB, q *ReplayQuery, tell func(done, total, copies int64)) (*ReplayLook, error) {
	s, err := t.replaySpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	look := &ReplayLook{Subjects: make(map[string]int64)}
	if len(s.Rows) > 0 || s.To == 0 {
		rows, err := t.TrailOfRows(ctx, db, s.Rows)
		for i := range rows {
			look.add(rows[i].Subject, 1, rows[i].CreatedAt, rows[i].CreatedAt)
		}
		look.FirstRows = s.Rows[:min(len(s.Rows), lookFirst)]
		return look, err
	}
	for from := s.From; from <= s.To && look.Matched < s.Limit; from += replaySpan {
		if err := t.lookPage(ctx, db, s, from, look); err != nil {
			return nil, err
		}
		tell(min(from+replaySpan, s.To+1)-s.From, s.To-s.From+1, look.Matched)
	}
	return look, nil
}

func (t *Store) lookPage(ctx context.Context, db outbox.DB, s *replaySpec, from int64, look *ReplayLook) error {
	rows, err := t.NoJIT(ctx, db, t.q.ReplayPreview, from, s.To, replaySpan, s.Since, s.Until, s.Patterns, s.Keys, s.FromID, s.ToID, s.Limit-look.Matched)
	if err != nil {
		return fmt.Errorf("look at a replay: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var subject string
		var n int64
		var first, last time.Time
		var ids []int64
		if err := rows.Scan(&subject, &n, &first, &last, &ids); err != nil {
			return fmt.Errorf("look at a replay: %w", err)
		}
		look.add(subject, n, first, last)
		look.FirstRows = append(look.FirstRows, ids[:min(len(ids), lookFirst-len(look.FirstRows))]...)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look at a replay: %w", err)
	}
	return nil
}

func (l *ReplayLook) add(subject string, n int64, first, last time.Time) {
	const most = 10_000
	if _, known := l.Subjects[subject]; !known && len(l.Subjects) >= most {
		subject = ""
	}
	l.Subjects[subject] += n
	l.Matched += n
	if l.First.IsZero() || first.Before(l.First) {
		l.First = first
	}
	if last.After(l.Last) {
		l.Last = last
	}
}
