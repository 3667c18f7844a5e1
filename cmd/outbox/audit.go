package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

func auditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "compare table, plan, receipts, stream and consumers", UsageText: "outbox audit [--since <time>] [--repair] [flags]",
		Description: `Compares every committed event with the stream, up to the end that both have when the audit begins. Writers and relays may
continue. It reads the headers of the stream once, at ten thousand or more per second, and changes nothing. It counts, but
does not report as findings, events that a limit of the stream or the retention of the table dropped, and events that were
committed within --grace or while the relay is paused.

--repair gives missing events a new position at the end of the plan, and waits for the relay to publish them. Findings that
cannot be undone in a stream are recorded as accepted, with author and time, and are no findings from then on: duplicates,
foreign and misplaced messages, and the order of a key. For each reordered key, a copy of its newest event is published.
Dead events stay; see outbox dead. --repair requires the rights of the owner of the outbox. It is safe to interrupt and run
again.

Exit codes: 0 clean, 3 findings, 69 a server is not available, 1 any other error.

Examples:
  outbox audit
  outbox audit --since 1h -o json | jq .missing
  outbox audit --repair --dry-run
  outbox audit --repair`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "since", Usage: "`TIME`, or an age such as 1h or 7d: audit only events planned since then"},
			&cli.StringFlag{Name: "until", Usage: "`TIME` or age: audit only events planned until then"},
			&cli.BoolFlag{Name: "repair", Usage: "repair findings through the relay"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --repair: print what it would do, change nothing"},
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "`N` findings of each kind to print; all are counted"},
			&cli.DurationFlag{Name: "grace", Value: time.Minute, Usage: "`TIME` that an event may take to reach the stream"},
			&cli.DurationFlag{Name: "patience", Value: time.Minute, Usage: "`TIME` that --repair waits for a relay that makes no progress"},
			term.OutputFlag(),
		}, setting.Flags("invalidate", "dead-stream")...),
		Action: action("invalidate", runAudit),
	}
}

// readAuditFlags reads the flags, before any connection.
func readAuditFlags(s *session) (cfg audit.Config, err error) {
	cfg = audit.Config{Stream: s.set.Text("stream"), Grace: s.c.Duration("grace"), Limit: s.c.Int("limit"), Patience: s.c.Duration("patience")}
	if cfg.Since, err = auditTime(s.c, "since"); err != nil {
		return cfg, err
	}
	if cfg.Until, err = auditTime(s.c, "until"); err != nil {
		return cfg, err
	}
	switch {
	case cfg.Grace <= 0 || cfg.Patience <= 0 || cfg.Limit < 1:
		return cfg, exit.Usagef(s.c, "want --grace and --patience above 0 such as 1m, and --limit of 1 or more")
	case s.c.Bool("dry-run") && !s.c.Bool("repair"):
		return cfg, exit.Usagef(s.c, "flag --dry-run requires --repair, without which audit changes nothing")
	case !cfg.Since.IsZero() && !cfg.Until.IsZero() && !cfg.Since.Before(cfg.Until):
		return cfg, exit.Usagef(s.c, "want --since before --until, got %s and %s", s.c.String("since"), s.c.String("until"))
	}
	return cfg, nil
}

// auditTime is the time of a flag, which may be a time or an age; zero if the flag is not set.
func auditTime(c *cli.Context, flag string) (time.Time, error) {
	text := c.String(flag)
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	back, err := setting.Days(text)
	if err != nil {
		return time.Time{}, exit.Usagef(c, "flag --%s: want an age such as 1h or 7d, or a time such as 2026-01-02T15:04:05Z, got %q", flag, text)
	}
	return time.Now().Add(-back), nil
}

func runAudit(ctx context.Context, s *session) error {
	cfg, err := readAuditFlags(s)
	if err != nil {
		return err
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	letters, err := openDeadLetters(ctx, s)
	if err != nil {
		return err
	}
	progress := newAuditProgress(s.c.App.ErrWriter)
	cfg.DeadLetters, cfg.Progress, cfg.Note = letters, progress.show, progress.note
	a, err := audit.New(s.table, s.pool, s.nc, cfg)
	if err != nil {
		return err
	}
	out, err := auditAndRepair(ctx, s, a, progress)
	if err != nil {
		return s.blameNATS(err)
	}
	if err := s.print(out, out.print); err != nil {
		return err
	}
	return out.verdict(s)
}

// auditAndRepair audits, repairs if the flags ask for it, and audits again.
func auditAndRepair(ctx context.Context, s *session, a *audit.Audit, progress *auditProgress) (*auditJSON, error) {
	report, err := a.Run(ctx)
	progress.end()
	if err != nil {
		return nil, err
	}
	if !s.c.Bool("repair") || report.Findings() == 0 {
		return newAuditJSON(report), nil
	}
	if s.c.Bool("dry-run") {
		would, err := a.TryRepair(ctx, report)
		out := newAuditJSON(report)
		out.Repair = newAuditRepair(&would, true)
		return out, err
	}
	did, waiting := a.Repair(ctx, report)
	if waiting != nil && !errors.Is(waiting, audit.ErrNotPublished) {
		return nil, waiting
	}
	if report, err = a.Run(ctx); err != nil {
		return nil, err
	}
	progress.end()
	out := newAuditJSON(report)
	out.Repair = newAuditRepair(&did, false)
	out.waiting = waiting
	return out, nil
}

// An auditProgress reports on standard error how far an audit is: on a terminal in one line that is overwritten,
// elsewhere in a line every five seconds.
type auditProgress struct {
	out      io.Writer
	terminal bool
	began    time.Time
	printed  time.Time
	dirty    bool // a line is to be overwritten
}

func newAuditProgress(out io.Writer) *auditProgress {
	_, terminal := term.IsTerminal(out)
	return &auditProgress{out: out, terminal: terminal}
}

func (p *auditProgress) show(read, all uint64) {
	if p.began.IsZero() || read == all {
		p.began, p.printed = time.Now(), time.Now()
		return
	}
	every := 5 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	if read == 0 || time.Since(p.printed) < every {
		return
	}
	p.printed = time.Now()
	took := time.Since(p.began)
	left := time.Duration(float64(took) * float64(all-read) / float64(read))
	line := fmt.Sprintf("read %d of %d messages, %.0f/s, %s left", read, all, float64(read)/took.Seconds(), left.Round(time.Second))
	if p.terminal {
		p.dirty = true
		fmt.Fprintf(p.out, "\r\x1b[K%s", line) //nolint:errcheck // only progress
		return
	}
	fmt.Fprintln(p.out, line) //nolint:errcheck // only progress
}

func (p *auditProgress) note(text string) {
	p.end()
	fmt.Fprintln(p.out, text) //nolint:errcheck // only progress
}

// end removes the line that would be overwritten.
func (p *auditProgress) end() {
	if p.dirty {
		fmt.Fprint(p.out, "\r\x1b[K") //nolint:errcheck // only progress
	}
	p.began, p.dirty = time.Time{}, false
}
