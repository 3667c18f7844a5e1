package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A replayPreview is what a replay would copy.
type replayPreview struct {
	DryRun        bool            `json:"dry_run"`
	Total         int64           `json:"total"`
	First         *time.Time      `json:"first"` // when the oldest original was created; null without any
	Last          *time.Time      `json:"last"`
	ToPrefix      string          `json:"to_prefix"` // of the copies' subjects
	Subjects      []replaySubject `json:"subjects"`  // of the originals, most events first
	OtherSubjects int64           `json:"other_subjects"`
	Items         []replayItem    `json:"items"` // the first ones
}

type replaySubject struct {
	Subject string `json:"subject"`
	Events  int64  `json:"events"`
}

type replayItem struct {
	ID        int64     `json:"id"`
	EventID   string    `json:"event_id"`
	Subject   string    `json:"subject"`
	Key       string    `json:"key"`
	CreatedAt time.Time `json:"created_at"`
}

// dryReplay prints what a replay would copy, and copies nothing.
func dryReplay(ctx context.Context, s *session, q *jobs.ReplayQuery) error {
	p := term.NewProgress(s.c.App.ErrWriter, "found")
	look, err := jobs.In(s.table).PreviewReplay(ctx, s.pool, q, p.Show)
	p.End()
	if err != nil {
		return explainReplay(err)
	}
	rows, err := s.table.TrailOfRows(ctx, s.pool, look.FirstRows)
	if err != nil {
		return err
	}
	out := newReplayPreview(look, q, rows)
	return s.print(out, out.print)
}

func newReplayPreview(look *jobs.ReplayPreview, q *jobs.ReplayQuery, rows []table.Trail) *replayPreview {
	out := &replayPreview{DryRun: true, Total: look.Matched, ToPrefix: q.Prefix, Subjects: []replaySubject{}, Items: []replayItem{}}
	if look.Matched > 0 {
		out.First, out.Last = &look.First, &look.Last
	}
	for _, subject := range slices.Sorted(maps.Keys(look.Subjects)) {
		if subject == "" {
			out.OtherSubjects = look.Subjects[subject]
			continue
		}
		out.Subjects = append(out.Subjects, replaySubject{subject, look.Subjects[subject]})
	}
	slices.SortStableFunc(out.Subjects, func(a, b replaySubject) int { return cmp.Compare(b.Events, a.Events) })
	for _, id := range look.FirstRows {
		if i := slices.IndexFunc(rows, func(t table.Trail) bool { return t.RowID == id }); i >= 0 {
			out.Items = append(out.Items, replayItem{id, rows[i].ID.String(), rows[i].Subject, rows[i].Key, rows[i].CreatedAt})
		}
	}
	return out
}

// shownSubjects bounds the subjects that a person sees; -o json has more.
const shownSubjects = 10

func (out *replayPreview) print(w io.Writer) error {
	where := ""
	if out.ToPrefix != "" {
		where = " to " + out.ToPrefix + ".<subject>"
	}
	if err := printf(w, "dry run, nothing changed: would copy %d events%s\n", out.Total, where); err != nil || out.Total == 0 {
		return err
	}
	if err := printf(w, "created from %s to %s\n", term.Time(*out.First), term.Time(*out.Last)); err != nil {
		return err
	}
	var rows [][]string
	for _, s := range out.Subjects[:min(len(out.Subjects), shownSubjects)] {
		rows = append(rows, []string{fmt.Sprint(s.Events), term.Plain(s.Subject)})
	}
	if err := term.Table(w, []string{"EVENTS", "SUBJECT"}, rows); err != nil {
		return err
	}
	if more := len(out.Subjects) - len(rows); more > 0 || out.OtherSubjects > 0 {
		if err := printf(w, "and more subjects; to list them, add -o json\n"); err != nil {
			return err
		}
	}
	if err := printf(w, "the first events:\n"); err != nil {
		return err
	}
	rows = nil
	for _, i := range out.Items {
		rows = append(rows, []string{fmt.Sprint(i.ID), i.EventID, term.Plain(i.Subject), cmp.Or(term.Plain(i.Key), "-"), term.Time(i.CreatedAt)})
	}
	return term.Table(w, []string{"ID", "EVENT_ID", "SUBJECT", "KEY", "CREATED"}, rows)
}
