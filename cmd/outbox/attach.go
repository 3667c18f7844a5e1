package main

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func attachCommand() *cli.Command {
	return &cli.Command{
		Name: "attach", Usage: "capture the changes of a table as events", UsageText: "outbox attach --table <table> --subject <template> [flags]",
		Description: `Creates triggers on a table, so that each insert, update and delete writes its event in the same transaction, without
application code. In the subject and the key, {column} is the value of that column, and {op} is inserted, updated or
deleted. Triggers of an earlier attach are replaced. Writers of the table wait at most for --lock-timeout.

Examples:
  outbox attach --table users --subject users.{id}.updated --columns id,name,email
  outbox attach --table shop.orders --subject orders.{id}.{op} --key {customer_id} --watch status --dry-run
  outbox attach --list -o json`,
		Flags: append(setting.Flags(""),
			&cli.StringFlag{Name: "table", Usage: "`TABLE` as SQL names it: users, shop.\"Order\" (required)"},
			&cli.StringFlag{Name: "subject", Usage: "`TEMPLATE` of the subject: users.{id}.{op} (required)"},
			&cli.StringFlag{Name: "key", Usage: "`TEMPLATE` of the key (default: the primary key)"},
			&cli.StringFlag{Name: "columns", Usage: "`COLUMNS` of the payload, joined by commas (default: all)"},
			&cli.StringFlag{Name: "watch", Usage: "`COLUMNS`, joined by commas; an update that changes none of them creates no event (default: all)"},
			&cli.StringFlag{Name: "on", Value: "insert,update,delete", Usage: "`OPERATIONS` that create events, joined by commas"},
			lockTimeoutFlag(),
			&cli.BoolFlag{Name: "dry-run", Usage: "attach in a transaction and roll it back"},
			&cli.BoolFlag{Name: "list", Usage: "list the attached tables, change nothing"},
			term.OutputFlag()),
		Action: action("", func(ctx context.Context, s *session) error {
			if s.c.Bool("list") {
				return attachList(ctx, s)
			}
			return attach(ctx, s)
		}),
	}
}

func lockTimeoutFlag() cli.Flag {
	return &cli.StringFlag{Name: "lock-timeout", Value: "5s", Usage: "`TIME` to wait for the lock of the table, at most"}
}

func lockTimeout(c *cli.Context) (time.Duration, error) {
	d, err := time.ParseDuration(c.String("lock-timeout"))
	if err != nil || d < time.Millisecond {
		return 0, exit.Usagef(c, "flag --lock-timeout: want a time of at least 1ms such as 5s, got %q", c.String("lock-timeout"))
	}
	return d, nil
}

func attach(ctx context.Context, s *session) error {
	if err := setting.Required(s.c, "table", "subject"); err != nil {
		return err
	}
	a := outbox.Attachment{
		Table: s.c.String("table"), Subject: s.c.String("subject"), Key: s.c.String("key"),
		Columns: setting.Split(s.c.String("columns")), Watch: setting.Split(s.c.String("watch")),
	}
	operations := []string{"insert", "update", "delete"}
	for _, op := range setting.Split(s.c.String("on")) {
		a.Operations = append(a.Operations, outbox.Operation(op))
		if !slices.Contains(operations, op) {
			return exit.Usagef(s.c, "flag --on: want insert, update or delete, got %q%s", op, exit.Suggest(op, operations))
		}
	}
	lock, err := lockTimeout(s.c)
	if err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	did := "attached"
	var function string
	if s.c.Bool("dry-run") {
		did = "dry run, nothing changed: would attach"
		function, err = tryAttach(ctx, s.table, s.pool, a, lock)
	} else {
		function, err = s.table.Attach(ctx, s.pool, a, lock)
	}
	if err != nil {
		return err
	}
	return s.printf("%s %s: %s creates event %s, through function %s.%s\n",
		did, a.Table, joinOperations(a.Operations, ", "), a.Subject, s.table.Schema(), function)
}

// tryAttach attaches in a transaction and rolls it back.
func tryAttach(ctx context.Context, tbl *table.Table, pool *pgxpool.Pool, a outbox.Attachment, lock time.Duration) (function string, err error) {
	undo := errors.New("undo")
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if function, err = tbl.Attach(ctx, tx, a, lock); err != nil {
			return err
		}
		return undo
	})
	if errors.Is(err, undo) {
		err = nil
	}
	return function, err
}

func attachList(ctx context.Context, s *session) error {
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	list, err := s.table.Attached(ctx, s.pool)
	if err != nil {
		return err
	}
	out := make([]attachedJSON, len(list))
	var rows [][]string
	for i, a := range list {
		out[i] = attachedJSON(a)
		rows = append(rows, []string{a.Table, a.Subject, a.Key, orAll(a.Columns), orAll(a.Watch), joinOperations(a.Operations, ","), term.Time(a.AttachedAt)})
	}
	return s.print(out, func(w io.Writer) error {
		return term.Table(w, []string{"TABLE", "SUBJECT", "KEY", "COLUMNS", "WATCH", "ON", "ATTACHED"}, rows)
	})
}

type attachedJSON struct {
	Table      string             `json:"table"`
	Subject    string             `json:"subject"`
	Key        string             `json:"key"`
	Columns    []string           `json:"columns"`
	Watch      []string           `json:"watch"`
	Operations []outbox.Operation `json:"operations"`
	AttachedAt time.Time          `json:"attached_at"`
}

func joinOperations(operations []outbox.Operation, separator string) string {
	names := make([]string, len(operations))
	for i, op := range operations {
		names[i] = string(op)
	}
	return strings.Join(names, separator)
}

func orAll(columns []string) string {
	if len(columns) == 0 {
		return "all"
	}
	return strings.Join(columns, ",")
}

func detachCommand() *cli.Command {
	return &cli.Command{
		Name: "detach", Usage: "stop capturing the changes of a table", UsageText: "outbox detach --table <table> [flags]",
		Description: "Removes the triggers that attach created, if there are any. Events that they wrote stay.\n\nExample:\n  outbox detach --table users",
		Flags: append(setting.Flags(""),
			&cli.StringFlag{Name: "table", Usage: "`TABLE` as SQL names it: users, shop.\"Order\" (required)"},
			lockTimeoutFlag()),
		Action: action("", detach),
	}
}

func detach(ctx context.Context, s *session) error {
	if err := setting.Required(s.c, "table"); err != nil {
		return err
	}
	lock, err := lockTimeout(s.c)
	if err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	found, err := s.table.Detach(ctx, s.pool, s.c.String("table"), lock)
	if err != nil {
		return err
	}
	done := "detached %s\n"
	if !found {
		done = "%s was not attached\n"
	}
	return s.printf(done, s.c.String("table"))
}
