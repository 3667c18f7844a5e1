package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
)

func backfillCommand() *cli.Command {
	return &cli.Command{
		Name: "backfill", Usage: "insert an event for each existing row of a table", UsageText: "outbox backfill <--table <table>|--job <id>> [flags]",
		Description: `Use it for a new cache, a new consumer, or a table that was attached late. Each row gets one event, like one of the capture
trigger (--op update). It is safe to kill: outbox backfill --job continues it, and no row gets two events. outbox pause --job
pauses it. --rate caps all tables combined; up to four tables run in parallel.

Rows are locked (SELECT … FOR SHARE) while their events are inserted, a page at a time, so that no consumer receives an older
version of a row after a newer one. Writers wait for a page at most, and never deadlock with the backfill. It waits 100 ms for
a row that a writer holds, tries it again, and leaves it for the end. Rows that change while it runs:

  updated       the new version, in its own event and in one of the backfill
  deleted       no event of the backfill, unless it reached the row before
  inserted      its own event, and one of the backfill if its key is ahead
  key changed   its own events, and one of the backfill if the key is ahead

If the table is not attached (--subject), a change has its own event only if the application inserts one.

Steps take a tenth of the time at most, so a busy database gets fewer of them. A lock causes no dead row and no bloat: it
writes 56 bytes of WAL per row (200 for the first row of a page after a checkpoint), beside 350 for a small event.

It requires the role outbox_owner, and on the table SELECT and, for the lock, UPDATE on one of its columns.

Examples:
  outbox backfill --table users --dry-run
  outbox backfill --table users --table shop.orders --rate 2000
  outbox backfill --table users --where "created_at < '2026-01-01'" --subject side.users.{id} --columns id,name
  outbox backfill --job 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10`,
		Flags: slices.Concat(setting.Flags(""), backfillFlags(), jobFlags(), []cli.Flag{
			&cli.IntFlag{Name: "page", Value: 250, Usage: "`N` rows locked at a time, at most; fewer if a step takes long"},
			term.OutputFlag()}),
		Action: action("", backfill),
	}
}

// backfillFlags describe a new backfill.
func backfillFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "table", Usage: "`TABLE` as SQL names it: users, shop.\"Order\"; may be given more than once"},
		&cli.StringFlag{Name: "where", Usage: "`CONDITION` on the columns of a row, in SQL (default: all rows)"},
		&cli.StringFlag{Name: "subject", Usage: "`TEMPLATE` of the subject (default: as attached)"},
		&cli.StringFlag{Name: "event-key", Usage: "`TEMPLATE` of the key (default: as attached, else the primary key)"},
		&cli.StringFlag{Name: "columns", Usage: "`COLUMNS` of the payload, joined by commas (default: as attached, else the whole row)"},
		&cli.StringFlag{Name: "op", Value: "update", Usage: "`OPERATION` of the events, in the header Outbox-Op and as {op}: update or insert"},
		&cli.Int64Flag{Name: "limit", Usage: "`N` events of each table, at most (default: all rows)"},
		&cli.BoolFlag{Name: "dry-run", Usage: "count the rows and print the first event, change nothing"},
	}
}

func backfill(ctx context.Context, s *session) error {
	r, err := readJob(s, "backfill", "inserted", backfillFlags())
	if err != nil {
		return err
	}
	if r.pace.Page = s.c.Int("page"); r.pace.Page < 1 {
		return exit.Usagef(s.c, "flag --page: want 1 or more, got %d", r.pace.Page)
	}
	queries, err := backfillQueries(s.c, r.resumes())
	if err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	switch {
	case r.resumes():
		job, err := r.find(ctx)
		if err != nil {
			return err
		}
		return r.fill(ctx, []*jobs.Job{job})
	case s.c.Bool("dry-run"):
		return dryBackfills(ctx, s, queries)
	}
	list, err := startBackfills(ctx, s, queries)
	if err != nil {
		return err
	}
	return r.fill(ctx, list)
}

// backfillQueries reads the flags of a new backfill, one query for each table.
func backfillQueries(c *cli.Context, resumes bool) (queries []jobs.BackfillQuery, err error) {
	tables := c.StringSlice("table")
	switch {
	case resumes:
		return nil, nil
	case len(tables) == 0:
		return nil, exit.Usagef(c, "missing --table, or --job to continue a backfill")
	case c.Int64("limit") < 0:
		return nil, exit.Usagef(c, "flag --limit: want 1 or more, got %d", c.Int64("limit"))
	}
	if err := setting.OneOf("update", "insert")(c.String("op")); err != nil {
		return nil, exit.Usagef(c, "flag --op: %w", err)
	}
	for _, name := range []string{"where", "subject", "event-key", "columns"} {
		if c.IsSet(name) && len(tables) > 1 {
			return nil, exit.Usagef(c, "--%s requires a single --table", name)
		}
	}
	seen := make(map[string]bool)
	for _, name := range tables {
		if seen[name] {
			return nil, exit.Usagef(c, "duplicate --table %s", name)
		}
		seen[name] = true
		queries = append(queries, jobs.BackfillQuery{
			Table: name, Subject: c.String("subject"), Key: c.String("event-key"), Columns: setting.Split(c.String("columns")),
			Op: c.String("op"), Where: c.String("where"), Limit: c.Int64("limit"),
		})
	}
	return queries, nil
}

// startBackfills starts all of them or none, and warns of tables that are not attached.
func startBackfills(ctx context.Context, s *session, queries []jobs.BackfillQuery) (list []*jobs.Job, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		for i := range queries {
			job, err := jobs.In(s.table).StartBackfill(ctx, tx, &queries[i])
			if err != nil {
				return err
			}
			list = append(list, job)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, job := range list {
		if spec, err := job.BackfillSpec(); err == nil && !spec.Attached {
			s.notef("outbox: %s is not attached: rows that change during the backfill have events of their own only if the application inserts them\n", spec.Table)
		}
	}
	return list, nil
}

// A backfillPreview is what the backfill of one table would insert.
type backfillPreview struct {
	jobs.BackfillSpec
	Rows  int64      `json:"rows"` // counted
	First *firstJSON `json:"first"`
}

type firstJSON struct {
	Subject string `json:"subject"`
	Key     string `json:"key"`
	Payload string `json:"payload"`
}

func dryBackfills(ctx context.Context, s *session, queries []jobs.BackfillQuery) error {
	out := make([]backfillPreview, len(queries))
	var rows [][]string
	for i := range queries {
		look, err := jobs.In(s.table).PreviewBackfill(ctx, s.pool, &queries[i])
		if err != nil {
			return err
		}
		out[i] = backfillPreview{BackfillSpec: look.BackfillSpec, Rows: look.Rows}
		rows = append(rows, []string{look.Table, fmt.Sprintf("%d events", look.Rows), look.Subject, "none", "", ""})
		if look.Rows > 0 {
			f := firstJSON{look.First.Subject, look.First.Key, string(look.First.Payload)}
			out[i].First = &f
			rows[i] = append(rows[i][:3], f.Subject, f.Key, term.Plain(f.Payload))
		}
	}
	return s.print(struct {
		Tables []backfillPreview `json:"tables"`
	}{out}, func(w io.Writer) error {
		s.notef("dry run, nothing changed\n")
		return term.Table(w, []string{"TABLE", "WOULD INSERT", "SUBJECT", "FIRST", "KEY", "PAYLOAD"}, rows)
	})
}
