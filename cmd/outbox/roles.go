package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/roles"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func rolesCommand() *cli.Command {
	return &cli.Command{
		Name: "roles", Usage: "make database roles with the least rights", UsageText: "outbox roles <print|apply|status> [flags]",
		Description: `Four groups without a login, to make logins members of: <prefix>_writer inserts events, <prefix>_relay is for the relay,
<prefix>_auditor reads everything, <prefix>_owner owns the schema and migrates. They are of the whole cluster of PostgreSQL.

Example:
  outbox roles apply --own --grant-writer app --grant-relay relay`,
		Subcommands: []*cli.Command{
			{
				Name: "print", Usage: "print the SQL that makes them", UsageText: "outbox roles print [flags]",
				Description: "Prints one script for psql or another tool. It needs no database, and can be run any number of times.\n\nExample:\n  outbox roles print --own | psql --set ON_ERROR_STOP=1",
				Flags:       append(settingFlags(""), rolesFlags()...),
				Action:      withSettings("", rolesPrint),
			},
			{
				Name: "apply", Usage: "make them, and give each its rights", UsageText: "outbox roles apply [flags]",
				Description: "Makes what is missing and takes away what is too much, in one transaction. Needs CREATEROLE and the ownership of the\ntables. Before the first migration it only makes the roles, and with --own the schema: apply again behind it.\n\nExample:\n  outbox roles apply --own --grant-writer app,api --dry-run",
				Flags: append(append(settingFlags(""), rolesFlags()...), lockTimeoutFlag(),
					&cli.BoolFlag{Name: "dry-run", Usage: "print the SQL instead, ask no server"}),
				Action: withSettings("", rolesApply),
			},
			{
				Name: "status", Usage: "list them with their members, exit 3 when one is missing", UsageText: "outbox roles status [flags]",
				Description: "Lists the four roles, whether they exist, and their direct members.\n\nExample:\n  outbox roles status -o json",
				Flags:       append(settingFlags(""), prefixFlag(), outputFlag()),
				Action:      withSettings("", rolesStatus),
			},
		},
	}
}

func prefixFlag() cli.Flag {
	return &cli.StringFlag{Name: "prefix", Value: "outbox", Usage: "`TEXT` that the names of the roles begin with"}
}

func rolesFlags() []cli.Flag {
	return []cli.Flag{
		prefixFlag(),
		&cli.BoolFlag{Name: "own", Usage: "give the schema and all in it to <prefix>_owner"},
		&cli.StringFlag{Name: "grant-writer", Usage: "`ROLES`, joined by commas, that become members of <prefix>_writer"},
		&cli.StringFlag{Name: "grant-relay", Usage: "`ROLES` that become members of <prefix>_relay"},
		&cli.StringFlag{Name: "grant-auditor", Usage: "`ROLES` that become members of <prefix>_auditor"},
		&cli.StringFlag{Name: "grant-owner", Usage: "`ROLES` that become members of <prefix>_owner"},
	}
}

func rolesOf(c *cli.Context) roles.Set {
	return roles.Set{
		Prefix: c.String("prefix"), Own: c.Bool("own"),
		Writers: split(c.String("grant-writer")), Relays: split(c.String("grant-relay")),
		Auditors: split(c.String("grant-auditor")), Owners: split(c.String("grant-owner")),
	}
}

// rolesSQL also checks every name, before any server is asked.
func rolesSQL(c *cli.Context, s settings) (string, error) {
	tbl, err := table.In(s.text("schema"))
	if err != nil {
		return "", usagef(nil, "%s: %w", s.origin("schema").from, err)
	}
	script, err := roles.SQL(tbl.Schema(), rolesOf(c))
	if err != nil {
		return "", usagef(c, "%w", err)
	}
	return script, nil
}

func rolesPrint(c *cli.Context, s settings) error {
	script, err := rolesSQL(c, s)
	if err != nil {
		return err
	}
	_, err = io.WriteString(c.App.Writer, script)
	return err
}

func rolesApply(c *cli.Context, s settings) error {
	if c.Bool("dry-run") {
		return rolesPrint(c, s)
	}
	lock, err := lockTimeout(c)
	if err != nil {
		return err
	}
	if _, err := rolesSQL(c, s); err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	migrated, err := roles.Apply(c.Context, pool, tbl.Schema(), rolesOf(c), lock)
	if err != nil {
		return err
	}
	did := "applied"
	if !migrated {
		did = fmt.Sprintf("made, schema %s has no tables yet: run outbox migrate up, then this again", tbl.Schema())
	}
	_, err = fmt.Fprintf(c.App.Writer, "roles %s_{writer,relay,auditor,owner} %s\n", c.String("prefix"), did)
	return err
}

func rolesStatus(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if _, err := rolesSQL(c, s); err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := roles.Status(c.Context, pool, tbl.Schema(), c.String("prefix"))
	if err != nil {
		return err
	}
	return errors.Join(printRoles(c.App.Writer, asJSON, list), rolesMissing(list))
}

func printRoles(w io.Writer, asJSON bool, list []roles.Role) error {
	if asJSON {
		return printJSON(w, list)
	}
	var rows [][]string
	for _, r := range list {
		exists := "yes"
		if !r.Exists {
			exists = "no"
		}
		rows = append(rows, []string{r.Name, exists, strings.Join(r.Members, ",")})
	}
	return printTable(w, []string{"ROLE", "EXISTS", "MEMBERS"}, rows)
}

func rolesMissing(list []roles.Role) error {
	missing := 0
	for _, r := range list {
		if !r.Exists {
			missing++
		}
	}
	if missing > 0 {
		return findings("%d of %d roles missing; run: outbox roles apply", missing, len(list))
	}
	return nil
}
