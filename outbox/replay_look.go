package outbox

import (
	"context"
	"fmt"
	"time"
)

// ReplayLook is what a replay would copy.
type ReplayLook struct {
	Matched     int64
	Subjects    map[string]int64 // copies by subject, of the first 10,000 subjects; the rest under ""
	First, Last time.Time        // when the originals were created
	FirstRow    int64            // id of the first
}

// LookReplay counts what a replay would copy, and copies nothing. tell is called between pages with the positions looked at and their
// number.
func (t *Table) LookReplay(ctx context.Context, db DB, q *ReplayQuery, tell func(done, total int64)) (*ReplayLook, error) {
	s, err := t.replaySpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	look := &ReplayLook{Subjects: make(map[string]int64)}
	if len(s.Rows) > 0 || s.To == 0 {
		rows, err := t.TrailOfRows(ctx, db, s.Rows)
		for i := range rows {
			look.add(rows[i].Subject, 1, rows[i].CreatedAt, rows[i].CreatedAt, rows[i].RowID)
		}
		return look, err
	}
	for from := s.From; from <= s.To && look.Matched < s.Limit; from += replaySpan {
		if err := t.lookPage(ctx, db, s, from, look); err != nil {
			return nil, err
		}
		tell(min(from+replaySpan, s.To+1)-s.From, s.To-s.From+1)
	}
	look.Matched = min(look.Matched, s.Limit)
	return look, nil
}

func (t *Table) lookPage(ctx context.Context, db DB, s *replaySpec, from int64, look *ReplayLook) error {
	rows, err := db.Query(ctx, t.q.ReplayLook, from, s.To, replaySpan, s.Since, s.Until, s.Patterns, s.Keys, s.FromID, s.ToID)
	if err != nil {
		return fmt.Errorf("look at a replay: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var subject string
		var n, id int64
		var first, last time.Time
		if err := rows.Scan(&subject, &n, &first, &last, &id); err != nil {
			return fmt.Errorf("look at a replay: %w", err)
		}
		look.add(subject, n, first, last, id)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("look at a replay: %w", err)
	}
	return nil
}

func (l *ReplayLook) add(subject string, n int64, first, last time.Time, id int64) {
	const most = 10_000
	if _, known := l.Subjects[subject]; !known && len(l.Subjects) >= most {
		subject = ""
	}
	l.Subjects[subject] += n
	l.Matched += n
	if l.First.IsZero() || first.Before(l.First) {
		l.First = first
	}
	if l.FirstRow == 0 || id < l.FirstRow {
		l.FirstRow = id
	}
	if last.After(l.Last) {
		l.Last = last
	}
}
