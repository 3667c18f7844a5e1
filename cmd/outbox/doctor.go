package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "check PostgreSQL, NATS and Redis", UsageText: "outbox doctor [flags]",
		Description: `Each line is one check with its state, the evidence and, for a finding, the command that repairs it. It changes nothing.

Exit codes: 0 no findings, 3 findings (warn or fail), 69 a server is not available.

Examples:
  outbox doctor --subjects 'users.>'
  outbox doctor --rules rules.yaml
  outbox doctor --skip redis -o json`,
		Flags: append(setting.Flags("relay", "subjects", "chain"),
			&cli.StringFlag{Name: "rules", Usage: "`FILE` with rules (YAML), to be compared with the subjects of recent events"},
			&cli.StringFlag{Name: "nats-monitor", Usage: "`URL` of the monitoring port of NATS, such as http://127.0.0.1:8222; only it reports how often the server syncs to disk"},
			&cli.StringFlag{Name: "skip", Usage: "`PARTS` to skip, joined by commas: postgres, nats, redis, rules"},
			term.OutputFlag()),
		Action: action("relay", runDoctor),
	}
}

// States of a check. A warning is a finding too: it will do harm later, or under load.
const (
	stateOK   = "ok"
	stateWarn = "warn"
	stateFail = "fail"
)

// A check is one condition that doctor checked.
type check struct {
	Server   string `json:"server"`
	Check    string `json:"check"`
	State    string `json:"state"`
	Evidence string `json:"evidence"`
	Repair   string `json:"repair,omitempty"` // the command that repairs it, or what to do
}

// A checkup is the checks of one server.
type checkup struct {
	server string
	checks []check
	away   bool // the server could not be reached
}

func (u *checkup) ok(name, evidence string, args ...any) {
	u.add(name, stateOK, "", fmt.Sprintf(evidence, args...))
}

func (u *checkup) warn(name, repair, evidence string, args ...any) {
	u.add(name, stateWarn, repair, fmt.Sprintf(evidence, args...))
}

func (u *checkup) fail(name, repair, evidence string, args ...any) {
	u.add(name, stateFail, repair, fmt.Sprintf(evidence, args...))
}

func (u *checkup) add(name, state, repair, evidence string) {
	u.checks = append(u.checks, check{Server: u.server, Check: name, State: state, Evidence: redact.Text(evidence), Repair: repair})
}

// unreached records that a server did not answer, or answered with a refusal.
func (u *checkup) unreached(err error, repair string) {
	u.away = exit.IsUnavailable(err)
	u.fail("reachable", repair, "%v", err)
}

// broke records that the facts of a check could not be read.
func (u *checkup) broke(name string, err error) {
	u.fail(name, "remove the cause of the error, then run: outbox doctor", "%v", err)
}

func runDoctor(ctx context.Context, s *session) error {
	if path := s.c.String("rules"); path != "" { // a setting of another section
		s.set.Override("invalidate.rules", path, "flag --rules")
	}
	skip := setting.Split(s.c.String("skip"))
	for _, name := range skip {
		if err := setting.OneOf(exit.Postgres, exit.NATS, exit.Redis, rulesPart)(name); err != nil {
			return exit.Usagef(s.c, "flag --skip: %w", err)
		}
	}
	all := []check{}
	var away []string
	for _, part := range []struct {
		server string
		read   func(context.Context, *session, *checkup) error
	}{
		{exit.Postgres, inspectPostgres}, {exit.NATS, inspectNATS}, {exit.Redis, inspectRedis}, {rulesPart, inspectRules},
	} {
		if part.server == rulesPart && s.set.Text("invalidate.rules") == "" || slices.Contains(skip, part.server) {
			continue
		}
		u := &checkup{server: part.server}
		if err := part.read(ctx, s, u); err != nil { // a usage error; everything else is a check
			return err
		}
		all = append(all, u.checks...)
		if u.away {
			away = append(away, u.server)
		}
	}
	err := s.print(struct {
		Findings int     `json:"findings"`
		Checks   []check `json:"checks"`
	}{count(all, stateWarn) + count(all, stateFail), all}, func(w io.Writer) error { return printChecks(w, all) })
	if err != nil {
		return err
	}
	return verdict(all, away)
}

func verdict(all []check, away []string) error {
	warnings, failures := count(all, stateWarn), count(all, stateFail)
	err := fmt.Errorf("%d failures and %d warnings in %d checks", failures, warnings, len(all))
	switch {
	case len(away) > 0:
		return exit.With(exit.Unavailable, fmt.Errorf("%s not available: %w", strings.Join(away, ", "), err))
	case warnings+failures > 0:
		return exit.With(exit.Findings, err)
	}
	return nil
}

func count(all []check, state string) int {
	n := 0
	for _, c := range all {
		if c.State == state {
			n++
		}
	}
	return n
}

func printChecks(w io.Writer, all []check) error {
	var rows [][]string
	for _, c := range all {
		rows = append(rows, []string{c.State, c.Server, c.Check, c.Evidence})
		if c.Repair != "" {
			rows = append(rows, []string{"", "", "", "repair: " + c.Repair})
		}
	}
	return term.Table(w, nil, rows)
}
