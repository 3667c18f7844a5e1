package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
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
		Action: action("", pause),
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

func pause(ctx context.Context, s *session) error {
	if err := setting.Required(s.c, "reason"); err != nil {
		return err
	}
	var d time.Duration
	if text := s.c.String("for"); text != "" {
		var err error
		if d, err = time.ParseDuration(text); err != nil || d <= 0 {
			return exit.Usagef(s.c, "flag --for %q: want a time above 0 such as 30m or 4h", text)
		}
	}
	target, err := openPause(ctx, s)
	if err != nil {
		return err
	}
	made, err := s.table.Pause(ctx, s.pool, target.rows, d, s.c.String("reason"), author(s.c))
	if err != nil {
		return err
	}
	until := time.Now().Add(endOfPause)
	if d > 0 {
		until = made[0].Until // one clock for both: that of the database
	} else if len(target.consumers) > 0 {
		s.notef("outbox: for JetStream a pause has an end: %s\n", term.Time(until))
	}
	failed := target.changeConsumers(ctx, "pause", func(ctx context.Context, name string) error {
		_, err := s.js.PauseConsumer(ctx, target.stream, name, until)
		return err
	})
	out := newPauses(made)
	return errors.Join(s.print(struct {
		Paused []pauseJSON `json:"paused"`
	}{out}, func(w io.Writer) error {
		var rows [][]string
		for _, p := range out {
			rows = append(rows, []string{p.Target, p.text()})
		}
		return term.Table(w, nil, rows)
	}), failed)
}

// text is a pause for people.
func (p *pauseJSON) text() string {
	until := "until resumed"
	if p.Until != nil {
		until = "until " + term.Time(*p.Until)
	}
	who := p.Author
	if !strings.EqualFold(p.Author, p.Role) {
		who += " (role " + p.Role + ")"
	}
	return fmt.Sprintf("paused since %s %s by %s: %s", term.Time(p.Since), until, term.Plain(who), term.Plain(p.Reason))
}

func resumeCommand() *cli.Command {
	return &cli.Command{
		Name: "resume", Usage: "let the relay, consumers or a job go on after outbox pause", UsageText: "outbox resume <--relay|--consumer <name>|--consumers|--job <id>> [flags]",
		Description: `They go on where they stopped: nothing that was committed meanwhile is left out. What is not paused stays as it is. Consumers
that were paused with another tool go on, too. A job that was interrupted goes on with the command that outbox jobs tells.

Examples:
  outbox resume --relay
  outbox resume --consumers --reason 'redis is back' -o json`,
		Flags:  pauseFlags(&cli.StringFlag{Name: "reason", Usage: "`TEXT` to keep beside it"}),
		Action: action("", resume),
	}
}

type resumedJSON struct {
	Target    string `json:"target"`
	WasPaused bool   `json:"was_paused"`
}

func resume(ctx context.Context, s *session) error {
	target, err := openPause(ctx, s)
	if err != nil {
		return err
	}
	ended, err := s.table.Resume(ctx, s.pool, target.rows, s.c.String("reason"), author(s.c))
	if err != nil {
		return err
	}
	failed := target.changeConsumers(ctx, "go on", func(ctx context.Context, name string) error {
		_, err := s.js.ResumeConsumer(ctx, target.stream, name)
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
	return errors.Join(s.print(struct {
		Resumed []resumedJSON `json:"resumed"`
	}{out}, func(w io.Writer) error { return term.Table(w, nil, rows) }), failed)
}
