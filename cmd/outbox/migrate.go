package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "create or upgrade the tables of the outbox", UsageText: "outbox migrate <up|status|print> [flags]",
		Description: "Each migration runs in a transaction of its own. A lock allows one run at a time.\n\nExample:\n  outbox migrate up --database-url postgres://localhost/app",
		Subcommands: []*cli.Command{
			{
				Name: "up", Usage: "apply the pending migrations", UsageText: "outbox migrate up [flags]",
				Description: "Applies the pending migrations in their order. It is safe to run it again, and from several machines at once.\n\nExamples:\n  outbox migrate up\n  outbox migrate up --database-url postgres://localhost/app",
				Flags:       append(setting.Flags(""), term.OutputFlag()),
				Action:      action("", migrateUp),
			},
			{
				Name: "status", Usage: "list the migrations; exit 3 if one is pending", UsageText: "outbox migrate status [flags]",
				Description: "Lists the migrations that this program contains, with the time at which each was applied.\n\nExample:\n  outbox migrate status -o json",
				Flags:       append(setting.Flags(""), term.OutputFlag()),
				Action:      action("", migrateStatus),
			},
			{
				Name: "print", Usage: "print the schema as SQL", UsageText: "outbox migrate print [flags]",
				Description: "Prints one script for psql or another migration tool. It connects to no database. The script requires an empty schema.\n\nExample:\n  outbox migrate print --schema outbox | psql --set ON_ERROR_STOP=1",
				Flags:       setting.Flags(""),
				Action:      action("", migratePrint),
			},
		},
	}
}

func migrateUp(ctx context.Context, s *session) error {
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	applied, err := s.table.Migrate(ctx, s.pool)
	switch {
	case len(applied) > 0 || s.json && err == nil:
		return errors.Join(printMigrations(s, applied), err)
	case err == nil:
		return s.printf("schema %s is up to date\n", s.table.Schema())
	}
	return err
}

func migrateStatus(ctx context.Context, s *session) error {
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	list, err := s.table.MigrationStatus(ctx, s.pool)
	if err != nil {
		return err
	}
	if err := printMigrations(s, list); err != nil {
		return err
	}
	pending := 0
	for _, m := range list {
		if m.AppliedAt.IsZero() {
			pending++
		}
	}
	if pending > 0 {
		return exit.Findingsf("%d of %d migrations are pending in schema %s; run: outbox migrate up --schema %s", pending, len(list), s.table.Schema(), s.table.Schema())
	}
	return nil
}

func migratePrint(_ context.Context, s *session) error {
	table, err := openTable(s.set)
	if err != nil {
		return err
	}
	return s.printf("%s", table.MigrationSQL())
}

func printMigrations(s *session, list []outbox.Migration) error {
	return s.print(append([]outbox.Migration{}, list...), func(w io.Writer) error {
		var rows [][]string
		for _, m := range list {
			applied := "pending"
			if !m.AppliedAt.IsZero() {
				applied = term.Time(m.AppliedAt)
			}
			rows = append(rows, []string{fmt.Sprintf("%03d", m.Version), m.Name, applied})
		}
		return term.Table(w, []string{"VERSION", "NAME", "APPLIED"}, rows)
	})
}
