package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/dead"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "prove that nothing was lost: table, plan, receipts, stream and consumers compared", UsageText: "outbox audit [--since <time>] [--repair] [flags]",
		Description: `Compares every committed event with the stream, up to where both end when it begins; writers and relays may go on. It reads
the headers of the stream once, some ten thousand a second or more, and changes nothing. What the limits of the stream or the retention of
the table have dropped is counted, and is no finding; nor is what was committed within --grace, or while the relay is paused.

--repair gives missing events a new position at the end of the plan, and waits for the relay to publish them. What cannot be undone in a
stream that only grows, duplicates, foreign and misplaced messages and the order of a key, is recorded as accepted, with who and when, and
is no finding from then on; of each reordered key a copy of the newest event follows. Events that wait for a person stay: see outbox dead.
It needs the rights of the owner of the outbox. Killed anywhere, it goes on when it is run again.

Exit codes: 0 clean, 3 findings, 69 a server is unavailable, 1 anything else.

Examples:
  outbox audit
  outbox audit --since 1h -o json | jq .missing
  outbox audit --repair --dry-run
  outbox audit --repair`,
		Flags: append(settingFlags("invalidate", "dead-stream"),
			&cli.StringFlag{Name: "since", Usage: "only what was planned since then: an `AGE` such as 1h or 7d, or a time as in RFC 3339"},
			&cli.StringFlag{Name: "until", Usage: "only what was planned until then: an `AGE` or a time"},
			&cli.BoolFlag{Name: "repair", Usage: "mend what can be mended, through the relay"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --repair: only say what it would do"},
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "`N` findings of each kind that are shown; all are counted"},
			&cli.DurationFlag{Name: "grace", Value: time.Minute, Usage: "`TIME` that an event may take to the stream"},
			&cli.DurationFlag{Name: "patience", Value: time.Minute, Usage: "`TIME` that --repair waits for a relay that does nothing"},
			outputFlag()),
		Action: withSettings("invalidate", auditAction),
	}
}

// readAuditFlags checks what the flags say before a server is asked.
func readAuditFlags(c *cli.Context, s settings) (cfg audit.Config, asJSON bool, err error) {
	if asJSON, err = wantsJSON(c); err != nil {
		return cfg, false, err
	}
	cfg = audit.Config{Stream: s.text("stream"), Grace: c.Duration("grace"), Limit: c.Int("limit"), Patience: c.Duration("patience")}
	if cfg.Since, err = auditTime(c, "since"); err != nil {
		return cfg, false, err
	}
	if cfg.Until, err = auditTime(c, "until"); err != nil {
		return cfg, false, err
	}
	switch {
	case cfg.Grace <= 0 || cfg.Patience <= 0 || cfg.Limit < 1:
		return cfg, false, usagef(c, "--grace and --patience want a time such as 1m, --limit 1 or more")
	case c.Bool("dry-run") && !c.Bool("repair"):
		return cfg, false, usagef(c, "--dry-run goes with --repair: without it nothing is changed")
	case !cfg.Since.IsZero() && !cfg.Until.IsZero() && !cfg.Since.Before(cfg.Until):
		return cfg, false, usagef(c, "--since %s is not before --until %s", c.String("since"), c.String("until"))
	}
	return cfg, asJSON, nil
}

// auditTime is a time, or one so long ago; zero when the flag is not set.
func auditTime(c *cli.Context, flag string) (time.Time, error) {
	text := c.String(flag)
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	back, err := days(text)
	if err != nil {
		return time.Time{}, usagef(c, "flag --%s %q: want an age such as 1h or 7d, or a time such as 2026-01-02T15:04:05Z", flag, text)
	}
	return time.Now().Add(-back), nil
}

func auditAction(c *cli.Context, s settings) error {
	cfg, asJSON, err := readAuditFlags(c, s)
	if err != nil {
		return err
	}
	table, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	nc, js, err := dialNATS(s, c.Command.HelpName)
	if err != nil {
		return err
	}
	defer nc.Close()
	open, cancel := within(c.Context)
	letters, err := dead.OpenLetters(open, js, s.text("stream"), s.text("invalidate.dead_stream"))
	cancel()
	if err != nil {
		return &serverError{natsServer, err}
	}
	tell := newAuditTeller(c)
	cfg.DeadLetters, cfg.Progress, cfg.Note = letters, tell.progress, tell.say
	a, err := audit.New(table, pool, nc, cfg)
	if err != nil {
		return err
	}
	out, err := runAudit(c, a, tell)
	if err != nil {
		return blameNATS(nc, err)
	}
	if asJSON {
		err = printJSON(c.App.Writer, out)
	} else {
		err = out.print(c.App.Writer)
	}
	if err != nil {
		return err
	}
	return out.verdict(c)
}

// runAudit audits, mends if that was asked for, and audits again.
func runAudit(c *cli.Context, a *audit.Audit, tell *auditTeller) (*auditJSON, error) {
	report, err := a.Run(c.Context)
	tell.end()
	if err != nil {
		return nil, err
	}
	if !c.Bool("repair") || report.Findings() == 0 {
		return newAuditJSON(report), nil
	}
	if c.Bool("dry-run") {
		would, err := a.TryRepair(c.Context, report)
		out := newAuditJSON(report)
		out.Repair = newAuditRepair(&would, true)
		return out, err
	}
	did, waiting := a.Repair(c.Context, report)
	if waiting != nil && !errors.Is(waiting, audit.ErrNotPublished) {
		return nil, waiting
	}
	if report, err = a.Run(c.Context); err != nil {
		return nil, err
	}
	tell.end()
	out := newAuditJSON(report)
	out.Repair = newAuditRepair(&did, false)
	out.waiting = waiting
	return out, nil
}

// blameNATS says of an error that NATS went away, if it did.
func blameNATS(nc *nats.Conn, err error) error {
	if !nc.IsConnected() && !errors.Is(err, context.Canceled) {
		return &serverError{natsServer, err}
	}
	return err
}

// auditTeller says on standard error how far an audit is: a line that is written over on a terminal, one every five seconds elsewhere.
type auditTeller struct {
	c        *cli.Context
	terminal bool
	began    time.Time
	told     time.Time
	dirty    bool
}

func newAuditTeller(c *cli.Context) *auditTeller {
	t := &auditTeller{c: c}
	if file, ok := c.App.ErrWriter.(*os.File); ok {
		t.terminal = term.IsTerminal(int(file.Fd()))
	}
	return t
}

func (t *auditTeller) progress(read, all uint64) {
	if t.began.IsZero() || read == all {
		t.began, t.told = time.Now(), time.Now()
		return
	}
	every := 5 * time.Second
	if t.terminal {
		every = 200 * time.Millisecond
	}
	if read == 0 || time.Since(t.told) < every {
		return
	}
	t.told = time.Now()
	took := time.Since(t.began)
	left := time.Duration(float64(took) * float64(all-read) / float64(read))
	line := fmt.Sprintf("read %d of %d messages, %.0f/s, %s left", read, all, float64(read)/took.Seconds(), left.Round(time.Second))
	if t.terminal {
		t.dirty = true
		fmt.Fprintf(t.c.App.ErrWriter, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(t.c.App.ErrWriter, line)
}

func (t *auditTeller) say(note string) {
	t.end()
	fmt.Fprintln(t.c.App.ErrWriter, note)
}

// end leaves the line that was written over.
func (t *auditTeller) end() {
	if t.dirty {
		fmt.Fprint(t.c.App.ErrWriter, "\r\x1b[K")
	}
	t.began, t.dirty = time.Time{}, false
}
