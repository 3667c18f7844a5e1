package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// endOfPause is how far away the end of a consumer's pause is that has none: JetStream wants one.
const endOfPause = 100 * 365 * 24 * time.Hour

func pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "stop the relay, consumers or a job for a while, losing nothing", UsageText: "outbox pause <--relay|--consumer <name>|--consumers|--job <id>> --reason <text> [flags]",
		Description: `What is in hand is finished, then nothing more is taken until outbox resume, or until --for is over. A paused relay goes
on leading and is healthy; writers go on, and what they commit waits in the table. A paused consumer is not delivered
anything; its invalidators live on, and values it would have deleted stay stale. Pauses outlive every process, and are in
outbox status. Needs the role outbox_owner, and for consumers the right to $JS.API.CONSUMER.PAUSE.

Examples:
  outbox pause --relay --reason 'the stream moves to other disks' --for 30m
  outbox pause --consumers --reason 'redis is being upgraded'
  outbox pause --consumer invalidate-now --reason 'wrong rules' --author ada -o json`,
		Flags: pauseFlags(
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that others will read (required)"},
			&cli.StringFlag{Name: "for", Usage: "`TIME` after which it ends by itself (default: not before outbox resume)"}),
		Action: withSettings("", pause),
	}
}

type pauseJSON struct {
	Target string     `json:"target"` // relay, consumer:name or the id of a job
	Reason string     `json:"reason"`
	Author string     `json:"author"`
	Role   string     `json:"role"` // of PostgreSQL
	Since  time.Time  `json:"since"`
	Until  *time.Time `json:"until"` // null: until resumed
}

func newPauses(pauses []table.Pause) []pauseJSON {
	out := make([]pauseJSON, len(pauses))
	for i, p := range pauses {
		out[i] = pauseJSON{Target: p.Target, Reason: p.Reason, Author: p.Author, Role: p.Role, Since: p.Since}
		if !p.Until.IsZero() {
			out[i].Until = &p.Until
		}
	}
	return out
}

func pause(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if err := required(c, "reason"); err != nil {
		return err
	}
	var d time.Duration
	if text := c.String("for"); text != "" {
		if d, err = time.ParseDuration(text); err != nil || d <= 0 {
			return usagef(c, "flag --for %q: want a time above 0 such as 30m or 4h", text)
		}
	}
	target, err := openPause(c, s)
	if err != nil {
		return err
	}
	defer target.close()
	made, err := target.table.Pause(c.Context, target.pool, target.rows, d, c.String("reason"), author(c))
	if err != nil {
		return err
	}
	until := time.Now().Add(endOfPause)
	if d > 0 {
		until = made[0].Until // one clock for both: that of the database
	} else if len(target.consumers) > 0 {
		fmt.Fprintf(c.App.ErrWriter, "outbox: for JetStream a pause has an end: %s\n", stamp(until)) //nolint:errcheck // only a remark
	}
	told := target.tellNATS(c.Context, "pause", func(ctx context.Context, name string) error {
		_, err := target.js.PauseConsumer(ctx, target.stream, name, until)
		return err
	})
	return errors.Join(printPauses(c, made, asJSON), told)
}

func printPauses(c *cli.Context, made []table.Pause, asJSON bool) error {
	if asJSON {
		return printJSON(c.App.Writer, struct {
			Paused []pauseJSON `json:"paused"`
		}{newPauses(made)})
	}
	var rows [][]string
	for _, p := range newPauses(made) {
		rows = append(rows, []string{p.Target, p.text()})
	}
	return printTable(c.App.Writer, nil, rows)
}

// text is a pause for people.
func (p *pauseJSON) text() string {
	until := "until resumed"
	if p.Until != nil {
		until = "until " + stamp(*p.Until)
	}
	who := p.Author
	if !strings.EqualFold(p.Author, p.Role) {
		who += " (role " + p.Role + ")"
	}
	return fmt.Sprintf("paused since %s %s by %s: %s", stamp(p.Since), until, plain(who), plain(p.Reason))
}
