package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A replayLookJSON is what a replay would do.
type replayLookJSON struct {
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

// dryReplay tells what a replay would do, and does none of it.
func dryReplay(c *cli.Context, tbl *table.Table, pool *pgxpool.Pool, q *jobs.ReplayQuery, asJSON bool) error {
	p := newProgress(c.App.ErrWriter, "found")
	look, err := jobs.In(tbl).PreviewReplay(c.Context, pool, q, func(done, total, found int64) { p.show(done, total, found) })
	p.end()
	if err != nil {
		return explainReplay(err)
	}
	rows, err := tbl.TrailOfRows(c.Context, pool, look.FirstRows)
	if err != nil {
		return err
	}
	out := newReplayLook(look, q, rows)
	if asJSON {
		return printJSON(c.App.Writer, out)
	}
	return out.print(c)
}

func newReplayLook(look *jobs.ReplayPreview, q *jobs.ReplayQuery, rows []table.Trail) *replayLookJSON {
	out := &replayLookJSON{DryRun: true, Total: look.Matched, ToPrefix: q.Prefix, Subjects: []replaySubject{}, Items: []replayItem{}}
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

// shownSubjects is how many subjects people are told.
const shownSubjects = 10

func (out *replayLookJSON) print(c *cli.Context) error {
	where := ""
	if out.ToPrefix != "" {
		where = " to " + out.ToPrefix + ".<subject>"
	}
	fmt.Fprintf(c.App.Writer, "dry run, nothing changed: would copy %d events%s\n", out.Total, where)
	if out.Total == 0 {
		return nil
	}
	fmt.Fprintf(c.App.Writer, "created from %s to %s\n", stamp(*out.First), stamp(*out.Last))
	var rows [][]string
	for _, s := range out.Subjects[:min(len(out.Subjects), shownSubjects)] {
		rows = append(rows, []string{fmt.Sprint(s.Events), plain(s.Subject)})
	}
	if err := printTable(c.App.Writer, []string{"EVENTS", "SUBJECT"}, rows); err != nil {
		return err
	}
	if more := len(out.Subjects) - len(rows); more > 0 || out.OtherSubjects > 0 {
		fmt.Fprintln(c.App.Writer, "and more subjects; -o json has them")
	}
	fmt.Fprintln(c.App.Writer, "the first ones:")
	rows = nil
	for _, i := range out.Items {
		rows = append(rows, []string{fmt.Sprint(i.ID), i.EventID, plain(i.Subject), or(plain(i.Key), "-"), stamp(i.CreatedAt)})
	}
	return printTable(c.App.Writer, []string{"ID", "EVENT_ID", "SUBJECT", "KEY", "CREATED"}, rows)
}
