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

// endOfPause is the length of a pause of a consumer without --for, since JetStream requires an end: a century.
const endOfPause = 100 * 365 * 24 * time.Hour

func pauseCommand() *cli.Command {
	return &cli.Command{
		Name: "pause", Usage: "pause the relay, consumers or a job", UsageText: "outbox pause <--relay|--consumer <name>|--consumers|--job <id>> --reason <text> [flags]",
		Description: `The target finishes its work in hand and takes no more until outbox resume, or until --for is over. Nothing is lost. A
paused relay still leads and is healthy; the events of writers wait in the table. NATS delivers nothing to a paused
consumer; its invalidators keep running, and the values that they would have deleted stay stale. A pause outlives
restarts, and outbox status shows it.

Requires the role outbox_owner, and for consumers the permission to publish to $JS.API.CONSUMER.PAUSE.

Examples:
  outbox pause --relay --reason 'the stream moves to other disks' --for 30m
  outbox pause --consumers --reason 'redis is being upgraded'
  outbox pause --consumer invalidate-now --reason 'wrong rules' --author ada -o json`,
		Flags: pauseFlags(
			&cli.StringFlag{Name: "reason", Usage: "`TEXT` that explains the pause to others (required)"},
			&cli.StringFlag{Name: "for", Usage: "`TIME` after which the pause ends automatically (default: until outbox resume)"}),
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
			return exit.Usagef(s.c, "flag --for: want a time above 0 such as 30m or 4h, got %q", text)
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
		until = made[0].Until // the clock of the database counts for both
	} else if len(target.consumers) > 0 {
		s.notef("outbox: JetStream requires an end of the pause, which is %s\n", term.Time(until))
	}
	failed := target.changeConsumers(ctx, "paused", func(ctx context.Context, name string) error {
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

// text describes a pause to a person.
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
		Name: "resume", Usage: "resume the relay, consumers or a job after outbox pause", UsageText: "outbox resume <--relay|--consumer <name>|--consumers|--job <id>> [flags]",
		Description: `The target continues where it stopped, with everything that was committed during the pause. A target that is not paused
is unchanged. A consumer that another tool paused is resumed too. To continue a job that was interrupted, run the command
that outbox jobs prints for it.

Examples:
  outbox resume --relay
  outbox resume --consumers --reason 'redis is back' -o json`,
		Flags:  pauseFlags(&cli.StringFlag{Name: "reason", Usage: "`TEXT` to record with the resume"}),
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
	failed := target.changeConsumers(ctx, "resumed", func(ctx context.Context, name string) error {
		_, err := s.js.ResumeConsumer(ctx, target.stream, name)
		return err
	})
	out := make([]resumedJSON, len(target.rows))
	var rows [][]string
	for i, name := range target.rows {
		out[i] = resumedJSON{Target: name, WasPaused: slices.Contains(ended, name)}
		did := "resumed"
		if !out[i].WasPaused {
			did = "was not paused"
		}
		rows = append(rows, []string{name, did})
	}
	return errors.Join(s.print(struct {
		Resumed []resumedJSON `json:"resumed"`
	}{out}, func(w io.Writer) error { return term.Table(w, nil, rows) }), failed)
}
