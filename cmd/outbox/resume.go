package main

import (
	"context"
	"errors"
	"slices"

	"github.com/urfave/cli/v2"
)

func resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "let the relay, consumers or a job go on after outbox pause", UsageText: "outbox resume <--relay|--consumer <name>|--consumers|--job <id>> [flags]",
		Description: `They go on where they stopped: nothing that was committed meanwhile is left out. What is not paused stays as it is. Consumers
that were paused with another tool go on, too. A job that was interrupted goes on with the command that outbox jobs tells.

Examples:
  outbox resume --relay
  outbox resume --consumers --reason 'redis is back' -o json`,
		Flags:  pauseFlags(&cli.StringFlag{Name: "reason", Usage: "`TEXT` to keep beside it"}),
		Action: withSettings("", resume),
	}
}

type resumedJSON struct {
	Target    string `json:"target"`
	WasPaused bool   `json:"was_paused"`
}

func resume(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	target, err := openPause(c, s)
	if err != nil {
		return err
	}
	defer target.close()
	ended, err := target.table.Resume(c.Context, target.pool, target.rows, c.String("reason"), author(c))
	if err != nil {
		return err
	}
	told := target.tellNATS(c.Context, "go on", func(ctx context.Context, name string) error {
		_, err := target.js.ResumeConsumer(ctx, target.stream, name)
		return err
	})
	out := make([]resumedJSON, len(target.rows))
	var rows [][]string
	for i, name := range target.rows {
		out[i] = resumedJSON{Target: name, WasPaused: slices.Contains(ended, name)}
		did := "goes on"
		if !out[i].WasPaused {
			did = "was not paused"
		}
		rows = append(rows, []string{name, did})
	}
	if asJSON {
		err = printJSON(c.App.Writer, struct {
			Resumed []resumedJSON `json:"resumed"`
		}{out})
	} else {
		err = printTable(c.App.Writer, nil, rows)
	}
	return errors.Join(err, told)
}
