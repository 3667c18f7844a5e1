package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/roles"
)

func rolesCommand() *cli.Command {
	return &cli.Command{
		Name: "roles", Usage: "create database roles with the least rights", UsageText: "outbox roles <print|apply|status> [flags]",
		Description: `Creates four roles without a login; make your logins members of them. <prefix>_writer inserts events, <prefix>_relay is
for the relay, <prefix>_auditor reads everything, <prefix>_owner owns the schema and migrates it. Roles belong to the whole
PostgreSQL cluster.

Example:
  outbox roles apply --own --grant-writer app --grant-relay relay`,
		Subcommands: []*cli.Command{
			{
				Name: "print", Usage: "print the SQL that creates the roles", UsageText: "outbox roles print [flags]",
				Description: "Prints one script for psql or another tool, which may run any number of times. It connects to no database.\n\nExample:\n  outbox roles print --own | psql --set ON_ERROR_STOP=1",
				Flags:       append(setting.Flags(""), rolesFlags()...),
				Action:      action("", rolesPrint),
			},
			{
				Name: "apply", Usage: "create the roles and grant their rights", UsageText: "outbox roles apply [flags]",
				Description: "Creates missing roles, grants missing rights and revokes excess ones, in one transaction. It requires CREATEROLE and the\nownership of the tables. Before the first migration it creates only the roles and, with --own, the schema: run it again after\nthat migration.\n\nExample:\n  outbox roles apply --own --grant-writer app,api --dry-run",
				Flags: append(append(setting.Flags(""), rolesFlags()...), lockTimeoutFlag(),
					&cli.BoolFlag{Name: "dry-run", Usage: "print the SQL, connect to no server"}),
				Action: action("", rolesApply),
			},
			{
				Name: "status", Usage: "list the roles with their members; exit 3 if one is missing", UsageText: "outbox roles status [flags]",
				Description: "Lists the four roles, whether each exists, and its direct members.\n\nExample:\n  outbox roles status -o json",
				Flags:       append(setting.Flags(""), prefixFlag(), term.OutputFlag()),
				Action:      action("", rolesStatus),
			},
		},
	}
}

func prefixFlag() cli.Flag {
	return &cli.StringFlag{Name: "prefix", Value: "outbox", Usage: "`TEXT` that begins the names of the roles"}
}

func rolesFlags() []cli.Flag {
	return []cli.Flag{
		prefixFlag(),
		&cli.BoolFlag{Name: "own", Usage: "make <prefix>_owner the owner of the schema and everything in it"},
		&cli.StringFlag{Name: "grant-writer", Usage: "`ROLES` to add to <prefix>_writer, joined by commas"},
		&cli.StringFlag{Name: "grant-relay", Usage: "`ROLES` to add to <prefix>_relay"},
		&cli.StringFlag{Name: "grant-auditor", Usage: "`ROLES` to add to <prefix>_auditor"},
		&cli.StringFlag{Name: "grant-owner", Usage: "`ROLES` to add to <prefix>_owner"},
	}
}

func rolesOf(c *cli.Context) roles.Set {
	return roles.Set{
		Prefix: c.String("prefix"), Own: c.Bool("own"),
		Writers: setting.Split(c.String("grant-writer")), Relays: setting.Split(c.String("grant-relay")),
		Auditors: setting.Split(c.String("grant-auditor")), Owners: setting.Split(c.String("grant-owner")),
	}
}

// rolesSQL returns the script for the flags. It returns a usage error for an invalid name.
func rolesSQL(s *session) (string, error) {
	table, err := openTable(s.set)
	if err != nil {
		return "", err
	}
	script, err := roles.SQL(table.Schema(), rolesOf(s.c))
	if err != nil {
		return "", exit.Usagef(s.c, "%w", err)
	}
	return script, nil
}

func rolesPrint(_ context.Context, s *session) error {
	script, err := rolesSQL(s)
	if err != nil {
		return err
	}
	return s.printf("%s", script)
}

func rolesApply(ctx context.Context, s *session) error {
	if s.c.Bool("dry-run") {
		return rolesPrint(ctx, s)
	}
	lock, err := lockTimeout(s.c)
	if err != nil {
		return err
	}
	if _, err := rolesSQL(s); err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	migrated, err := roles.Apply(ctx, s.pool, s.table.Schema(), rolesOf(s.c), lock)
	if err != nil {
		return err
	}
	did := "applied"
	if !migrated {
		did = fmt.Sprintf("created; schema %s has no tables yet; next: outbox migrate up, then this command again", s.table.Schema())
	}
	return s.printf("roles %s_{writer,relay,auditor,owner} %s\n", s.c.String("prefix"), did)
}

func rolesStatus(ctx context.Context, s *session) error {
	if _, err := rolesSQL(s); err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	list, err := roles.Status(ctx, s.pool, s.table.Schema(), s.c.String("prefix"))
	if err != nil {
		return err
	}
	return errors.Join(s.print(list, func(w io.Writer) error { return printRoles(w, list) }), rolesMissing(list))
}

func printRoles(w io.Writer, list []roles.Role) error {
	var rows [][]string
	for _, r := range list {
		exists := "yes"
		if !r.Exists {
			exists = "no"
		}
		rows = append(rows, []string{r.Name, exists, strings.Join(r.Members, ",")})
	}
	return term.Table(w, []string{"ROLE", "EXISTS", "MEMBERS"}, rows)
}

func rolesMissing(list []roles.Role) error {
	missing := 0
	for _, r := range list {
		if !r.Exists {
			missing++
		}
	}
	if missing > 0 {
		return exit.Findingsf("%d of %d roles are missing; run: outbox roles apply", missing, len(list))
	}
	return nil
}
