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
		Flags: append(setting.Flags("invalidate", "dead-stream"),
			&cli.StringFlag{Name: "since", Usage: "only what was planned since then: an `AGE` such as 1h or 7d, or a time as in RFC 3339"},
			&cli.StringFlag{Name: "until", Usage: "only what was planned until then: an `AGE` or a time"},
			&cli.BoolFlag{Name: "repair", Usage: "mend what can be mended, through the relay"},
			&cli.BoolFlag{Name: "dry-run", Usage: "with --repair: only say what it would do"},
			&cli.IntFlag{Name: "limit", Value: 20, Usage: "`N` findings of each kind that are shown; all are counted"},
			&cli.DurationFlag{Name: "grace", Value: time.Minute, Usage: "`TIME` that an event may take to the stream"},
			&cli.DurationFlag{Name: "patience", Value: time.Minute, Usage: "`TIME` that --repair waits for a relay that does nothing"},
			term.OutputFlag()),
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
		return cfg, exit.Usagef(s.c, "--grace and --patience want a time such as 1m, --limit 1 or more")
	case s.c.Bool("dry-run") && !s.c.Bool("repair"):
		return cfg, exit.Usagef(s.c, "--dry-run goes with --repair: without it nothing is changed")
	case !cfg.Since.IsZero() && !cfg.Until.IsZero() && !cfg.Since.Before(cfg.Until):
		return cfg, exit.Usagef(s.c, "--since %s is not before --until %s", s.c.String("since"), s.c.String("until"))
	}
	return cfg, nil
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
	back, err := setting.Days(text)
	if err != nil {
		return time.Time{}, exit.Usagef(c, "flag --%s %q: want an age such as 1h or 7d, or a time such as 2026-01-02T15:04:05Z", flag, text)
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
	letters, err := openLetters(ctx, s)
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

// An auditProgress reports on standard error how far an audit is: on a terminal in one line that is overwritten, elsewhere in a
// line every five seconds.
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
