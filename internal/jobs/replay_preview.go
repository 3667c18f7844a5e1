package jobs

import (
	"context"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ReplayPreview is what a replay would copy.
type ReplayPreview struct {
	Matched     int64            // events
	Subjects    map[string]int64 // events by subject, of the first 10,000 subjects; those of others under ""
	First, Last time.Time        // creation times of the oldest and the newest event
	FirstRows   []int64          // row ids of the first ten, in the order of the copies
}

const previewRows = 10

// PreviewReplay counts what a replay would copy, and changes nothing. It calls progress after each page, with the
// positions scanned so far, their total, and the events found so far.
func (t *Store) PreviewReplay(ctx context.Context, db outbox.DB, q *ReplayQuery, progress func(scanned, total, found int64)) (*ReplayPreview, error) {
	s, err := t.replaySpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	preview := &ReplayPreview{Subjects: make(map[string]int64)}
	if len(s.Rows) > 0 || s.To == 0 {
		rows, err := t.TrailOfRows(ctx, db, s.Rows)
		for i := range rows {
			preview.add(rows[i].Subject, 1, rows[i].CreatedAt, rows[i].CreatedAt)
		}
		preview.FirstRows = s.Rows[:min(len(s.Rows), previewRows)]
		return preview, err
	}
	for from := s.From; from <= s.To && preview.Matched < s.Limit; from += replaySpan {
		if err := t.previewPage(ctx, db, s, from, preview); err != nil {
			return nil, err
		}
		progress(min(from+replaySpan, s.To+1)-s.From, s.To-s.From+1, preview.Matched)
	}
	return preview, nil
}

func (t *Store) previewPage(ctx context.Context, db outbox.DB, s *replaySpec, from int64, preview *ReplayPreview) error {
	rows, err := t.NoJIT(ctx, db, t.q.ReplayPreview, from, s.To, replaySpan, s.Since, s.Until, s.Patterns, s.Keys, s.FromID, s.ToID, s.Limit-preview.Matched)
	if err != nil {
		return fmt.Errorf("preview a replay: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var subject string
		var n int64
		var first, last time.Time
		var ids []int64
		if err := rows.Scan(&subject, &n, &first, &last, &ids); err != nil {
			return fmt.Errorf("preview a replay: %w", err)
		}
		preview.add(subject, n, first, last)
		preview.FirstRows = append(preview.FirstRows, ids[:min(len(ids), previewRows-len(preview.FirstRows))]...)
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("preview a replay: %w", err)
	}
	return nil
}

func (p *ReplayPreview) add(subject string, n int64, first, last time.Time) {
	const most = 10_000
	if _, known := p.Subjects[subject]; !known && len(p.Subjects) >= most {
		subject = ""
	}
	p.Subjects[subject] += n
	p.Matched += n
	if p.First.IsZero() || first.Before(p.First) {
		p.First = first
	}
	if last.After(p.Last) {
		p.Last = last
	}
}
