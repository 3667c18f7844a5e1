package main

import (
	"fmt"

	"github.com/urfave/cli/v2"
)

func detachCommand() *cli.Command {
	return &cli.Command{
		Name: "detach", Usage: "stop capturing the changes of a table", UsageText: "outbox detach --table <table> [flags]",
		Description: "Removes the triggers of attach. Events that were written stay. Fine when there is none.\n\nExample:\n  outbox detach --table users",
		Flags: append(settingFlags(""),
			&cli.StringFlag{Name: "table", Usage: "`TABLE` as SQL names it: users, shop.\"Order\" (required)"},
			lockTimeoutFlag()),
		Action: withSettings("", detach),
	}
}

func detach(c *cli.Context, s settings) error {
	if err := required(c, "table"); err != nil {
		return err
	}
	lock, err := lockTimeout(c)
	if err != nil {
		return err
	}
	table, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	found, err := table.Detach(c.Context, pool, c.String("table"), lock)
	if err != nil {
		return err
	}
	done := "detached %s\n"
	if !found {
		done = "%s was not attached\n"
	}
	_, err = fmt.Fprintf(c.App.Writer, done, c.String("table"))
	return err
}
