package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

func stalenessCommand() *cli.Command {
	return &cli.Command{
		Name: "staleness", Usage: "print how many stale values survived in the cache", UsageText: "outbox staleness [flags]",
		Description: `Prints the results of the staleness check, which outbox invalidate stores in NATS for 7 days. At fixed times after an event
(scales), the check reads the keys of a sample of the events and compares their age or version with the event:

  clean       the value is not older than the event
  suspect     the value may be older: the rule's ttl or version does not decide
  violation   the value is older

bound95 is the upper bound, at 95 % confidence, of the share of violations among the keys that could be decided. nines is its
negative decimal logarithm. Counts begin with the start of each process that stored results since --since.

Exit codes: 0 no violations, 3 violations, 1 no key could be decided.

Examples:
  outbox staleness
  outbox staleness --since 168h -o json | jq '.scales[] | {scale, violations, bound95}'`,
		Flags: append(setting.Flags(""),
			&cli.StringFlag{Name: "since", Value: "24h", Usage: "`AGE` of the oldest results to include, at most 168h"},
			term.OutputFlag()),
		Action: action("", staleness),
	}
}

type stalenessJSON struct {
	Stream     string          `json:"stream"`
	Since      time.Time       `json:"since"`
	Scales     []scaleJSON     `json:"scales"`
	Violations []violationJSON `json:"violations"` // the last ten of each process, newest first
}

type scaleJSON struct {
	Scale        string  `json:"scale"`
	ScaleSeconds float64 `json:"scale_seconds"`
	Consumer     string  `json:"consumer"`
	invalidate.Tally
	Bound95   float64   `json:"bound95"`
	Nines     float64   `json:"nines"`
	Processes int       `json:"processes"`
	Started   time.Time `json:"started"` // of the oldest process
	Updated   time.Time `json:"updated"` // newest results

	scale time.Duration
}

type violationJSON struct {
	Scale string `json:"scale"`
	Found string `json:"found"`
	invalidate.Violation
}

func staleness(ctx context.Context, s *session) error {
	since, err := ago(s.c, "since")
	if err != nil {
		return err
	}
	if err := s.dialNATS(ctx); err != nil {
		return err
	}
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	found, err := invalidate.ReadFindings(ctx, s.js, s.set.Text("stream"))
	if err != nil {
		return exit.Unreached(exit.NATS, err)
	}
	out := newStaleness(s.set.Text("stream"), since, found)
	return errors.Join(s.print(out, func(w io.Writer) error { return out.print(w, s) }), out.verdict())
}

// newStaleness sums the results of all processes by consumer.
func newStaleness(stream string, since time.Time, found []invalidate.Findings) *stalenessJSON {
	out := &stalenessJSON{Stream: stream, Since: since, Scales: []scaleJSON{}, Violations: []violationJSON{}}
	for i := range found {
		f := &found[i]
		if f.Updated.Before(since) {
			continue
		}
		at := slices.IndexFunc(out.Scales, func(s scaleJSON) bool { return s.Consumer == f.Consumer })
		if at < 0 {
			at = len(out.Scales)
			out.Scales = append(out.Scales, scaleJSON{
				Scale: scaleText(f.Scale), ScaleSeconds: f.Scale.Seconds(), Consumer: f.Consumer, Started: f.Started, scale: f.Scale,
			})
		}
		sum := &out.Scales[at]
		sum.Tally.Add(f.Tally)
		sum.Processes++
		if f.Started.Before(sum.Started) {
			sum.Started = f.Started
		}
		if f.Updated.After(sum.Updated) {
			sum.Updated = f.Updated
		}
		for _, v := range f.Last {
			if !v.Time.Before(since) {
				out.Violations = append(out.Violations, violationJSON{Scale: scaleText(v.Scale), Found: v.Evidence(), Violation: v})
			}
		}
	}
	for i := range out.Scales {
		sum := &out.Scales[i]
		sum.Bound95 = sum.Bound()
		sum.Nines = max(0, -math.Log10(sum.Bound95))
	}
	slices.SortStableFunc(out.Scales, func(a, b scaleJSON) int { return cmp.Compare(a.scale, b.scale) })
	slices.SortStableFunc(out.Violations, func(a, b violationJSON) int { return b.Time.Compare(a.Time) })
	return out
}

// scaleText formats a time as a person writes it: 1m, not 1m0s.
func scaleText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// verdict is the error that the results amount to.
func (out *stalenessJSON) verdict() error {
	var sum invalidate.Tally
	for i := range out.Scales {
		sum.Add(out.Scales[i].Tally)
	}
	since := term.Time(out.Since)
	switch {
	case sum.Violations > 0:
		return exit.Findingsf("%d stale values survived", sum.Violations)
	case sum.Checked == 0:
		return fmt.Errorf("no results of stream %s since %s; run outbox invalidate with rules that have a ttl or a version, or extend --since", out.Stream, since)
	case sum.Checked == sum.Suspect:
		return fmt.Errorf("none of %d keys could be decided, all are suspects; possible reasons: a ttl range as wide as the scale, values without their version, or a Redis user that may not read keys", sum.Checked)
	}
	return nil
}

const shownViolations = 10

func (out *stalenessJSON) print(w io.Writer, s *session) error {
	if len(out.Scales) == 0 {
		return nil
	}
	var rows [][]string
	for i := range out.Scales {
		s := &out.Scales[i]
		rows = append(rows, []string{s.Scale, s.Consumer, digits(s.Checked), digits(s.Clean), digits(s.Absent), digits(s.Suspect), digits(s.Violations),
			strconv.FormatFloat(s.Bound95, 'g', 3, 64), strconv.FormatFloat(s.Nines, 'f', 2, 64), strconv.Itoa(s.Processes), term.Time(s.Started), term.Age(s.Updated)})
	}
	header := []string{"SCALE", "CONSUMER", "CHECKED", "CLEAN", "ABSENT", "SUSPECT", "VIOLATIONS", "BOUND95", "NINES", "PROCESSES", "SINCE", "AGE"}
	if err := term.Table(w, header, rows); err != nil {
		return err
	}
	for i := range out.Violations[:min(len(out.Violations), shownViolations)] {
		v := &out.Violations[i]
		rows := [][]string{
			{"violation", fmt.Sprintf("%s after the event, by its %s", v.Scale, v.Tier)}, {"time", term.Time(v.Time)}, {"key", term.Plain(v.Key)},
			{"event_id", v.EventID.String()}, {"subject", term.Plain(v.Subject)}, {"sequence", fmt.Sprint(v.Sequence)},
			{"found", term.Plain(v.Found)}, {"history", term.Plain(v.HistoryText())},
		}
		if err := printf(w, "\n"); err != nil {
			return err
		}
		if err := term.Table(w, nil, rows); err != nil {
			return err
		}
	}
	if more := len(out.Violations) - shownViolations; more > 0 {
		s.notef("%d more; outbox staleness -o json shows all that are kept\n", more)
	}
	return nil
}

func digits(n int64) string { return strconv.FormatInt(n, 10) }
