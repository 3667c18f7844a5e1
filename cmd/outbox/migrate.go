package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func migrateCommand() *cli.Command {
	return &cli.Command{
		Name: "migrate", Usage: "make or update the tables of the outbox", UsageText: "outbox migrate <up|status|print> [flags]",
		Description: "The schema is versioned: each migration runs in a transaction of its own, all under a lock.\n\nExample:\n  outbox migrate up --database-url postgres://localhost/app",
		Subcommands: []*cli.Command{
			{
				Name: "up", Usage: "apply what is pending", UsageText: "outbox migrate up [flags]",
				Description: "Applies every pending migration, and does nothing when there is none. Any number may run at once.\n\nExamples:\n  outbox migrate up\n  outbox migrate up --database-url postgres://localhost/app",
				Flags:       append(settingFlags(""), outputFlag()),
				Action:      withSettings("", migrateUp),
			},
			{
				Name: "status", Usage: "list migrations, exit 3 when one is pending", UsageText: "outbox migrate status [flags]",
				Description: "Lists every migration that this program knows, with the time it was applied.\n\nExample:\n  outbox migrate status -o json",
				Flags:       append(settingFlags(""), outputFlag()),
				Action:      withSettings("", migrateStatus),
			},
			{
				Name: "print", Usage: "print the whole schema as SQL", UsageText: "outbox migrate print [flags]",
				Description: "Prints one script for psql or another migration tool. It needs no database, and expects an empty schema.\n\nExample:\n  outbox migrate print --schema outbox | psql --set ON_ERROR_STOP=1",
				Flags:       settingFlags(""),
				Action:      withSettings("", migratePrint),
			},
		},
	}
}

func migrateUp(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	applied, err := tbl.Migrate(c.Context, pool)
	switch {
	case len(applied) > 0 || asJSON && err == nil:
		return errors.Join(printMigrations(c.App.Writer, asJSON, applied), err)
	case err == nil:
		_, err = fmt.Fprintf(c.App.Writer, "schema %s is up to date\n", tbl.Schema())
	}
	return err
}

func migrateStatus(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := tbl.MigrationStatus(c.Context, pool)
	if err != nil {
		return err
	}
	if err := printMigrations(c.App.Writer, asJSON, list); err != nil {
		return err
	}
	pending := 0
	for _, m := range list {
		if m.AppliedAt.IsZero() {
			pending++
		}
	}
	if pending > 0 {
		return findings("%d of %d migrations pending in schema %s; run: outbox migrate up --schema %s", pending, len(list), tbl.Schema(), tbl.Schema())
	}
	return nil
}

func migratePrint(c *cli.Context, s settings) error {
	tbl, err := table.In(s.text("schema"))
	if err != nil {
		return usagef(nil, "%s: %w", s.origin("schema").from, err)
	}
	_, err = io.WriteString(c.App.Writer, tbl.MigrationSQL())
	return err
}

func printMigrations(w io.Writer, asJSON bool, list []outbox.Migration) error {
	if asJSON {
		if list == nil {
			list = []outbox.Migration{}
		}
		return printJSON(w, list)
	}
	var rows [][]string
	for _, m := range list {
		applied := "pending"
		if !m.AppliedAt.IsZero() {
			applied = stamp(m.AppliedAt)
		}
		rows = append(rows, []string{fmt.Sprintf("%03d", m.Version), m.Name, applied})
	}
	return printTable(w, []string{"VERSION", "NAME", "APPLIED"}, rows)
}
