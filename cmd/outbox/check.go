package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "tell a monitoring system whether the outbox is healthy", UsageText: "outbox check [-o nagios|prometheus|json] [flags]",
		Description: `One look, one answer. Thresholds are given as warn or warn:critical. With -o nagios the exit codes are those of its
plugins: 0 ok, 1 warning, 2 critical, 3 unknown. With prometheus (text for a node exporter's textfile collector) and json
they are those of every command: 0 healthy, 3 not, 69 a server is away.

Examples:
  outbox check --max-lag 10s:60s --max-dead 0:100
  outbox check -o prometheus
  outbox check -o json | jq .state`,
		Flags: append(setting.Flags("invalidate", "dead-stream"),
			term.OutputFlag("nagios", "prometheus", "json"),
			&cli.StringFlag{Name: "max-lag", Value: "10s:60s", Usage: "`TIMES` that the oldest event which is not acknowledged may wait"},
			&cli.StringFlag{Name: "max-pending", Value: "100000:1000000", Usage: "`NUMBERS` of events that may wait for the stream"},
			&cli.StringFlag{Name: "max-consumer-pending", Value: "100000:1000000", Usage: "`NUMBERS` of messages that may wait for one consumer"},
			&cli.StringFlag{Name: "max-dead", Value: "0:1000", Usage: "`NUMBERS` of events that may wait for a person, parked ones and letters"},
			&cli.DurationFlag{Name: "quiet", Value: 30 * time.Second, Usage: "`TIME` without an ack after which a consumer that has something to do is stuck"}),
		Action: action("invalidate", checkHealth),
	}
}

// States of a check, the codes of a nagios plugin.
const (
	checkOK = iota
	checkWarning
	checkCritical
	checkUnknown
)

var checkNames = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// A threshold is a number and how much of it is still well.
type threshold struct {
	name           string // of the value
	value          float64
	unit           string // s, or empty
	warn, critical float64
}

func (t *threshold) state() int {
	switch {
	case t.value > t.critical:
		return checkCritical
	case t.value > t.warn:
		return checkWarning
	}
	return checkOK
}

// limit reads warn or warn:critical with a parser of one of them.
func limit(text string, parse func(string) (float64, error)) (warn, critical float64, err error) {
	first, second, two := strings.Cut(text, ":")
	if warn, err = parse(first); err != nil {
		return 0, 0, err
	}
	critical = warn
	if two {
		critical, err = parse(second)
	}
	if err == nil && critical < warn {
		err = fmt.Errorf("critical is below warn")
	}
	return warn, critical, err
}

func secondsOf(text string) (float64, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("%s is negative", text)
	}
	return d.Seconds(), err
}

func countOf(text string) (float64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return float64(n), err
}

// thresholds fills in what the flags say; values come with a look.
func thresholds(c *cli.Context) (out []threshold, err error) {
	for _, flag := range []struct {
		name, value, unit string
		parse             func(string) (float64, error)
	}{
		{"max-lag", "lag_seconds", "s", secondsOf}, {"max-pending", "pending", "", countOf},
		{"max-consumer-pending", "consumer_pending", "", countOf}, {"max-dead", "dead", "", countOf},
	} {
		t := threshold{name: flag.value, unit: flag.unit}
		if t.warn, t.critical, err = limit(c.String(flag.name), flag.parse); err != nil {
			return nil, exit.Usagef(c, "--%s %q: want warn or warn:critical, as in %s", flag.name, c.String(flag.name), "10:100, or 10s:60s where it is a time")
		}
		out = append(out, t)
	}
	return out, nil
}

func checkHealth(ctx context.Context, s *session) error {
	limits, err := thresholds(s.c)
	if err != nil {
		return err
	}
	out := &checkJSON{State: checkNames[checkUnknown]}
	code, failure := out.read(ctx, s, limits)
	if failure != nil && out.Verdict.State == "" {
		out.Verdict = health.Verdict{State: "unknown", Detail: redact.Text(failure.Error()), Next: "outbox doctor"}
	}
	out.State = checkNames[code]
	format := s.c.String("output")
	if err := out.print(s.c.App.Writer, format); err != nil {
		return err
	}
	return checkCode(format, code, failure, out)
}

// read reads the facts and judges them. failure is the reason why a server was not reached.
func (out *checkJSON) read(ctx context.Context, s *session, limits []threshold) (code int, failure error) {
	l, err := openLookout(ctx, s)
	if err != nil {
		return checkUnknown, err
	}
	v, err := l.read(ctx)
	if err != nil {
		return checkUnknown, err
	}
	return out.judge(v, limits, s.c.Duration("quiet")), v.Broker
}

// checkCode is how the command ends.
func checkCode(format string, code int, failure error, out *checkJSON) error {
	said := fmt.Errorf("%s: %s", out.Verdict.State, out.Verdict.Detail)
	switch {
	case format == "nagios" && code != checkOK:
		return exit.With(code, said)
	case format == "nagios" || code == checkOK:
		return nil
	case failure != nil:
		return failure
	}
	return exit.With(exit.Findings, said)
}

type checkJSON struct {
	State   string             `json:"state"` // OK, WARNING, CRITICAL or UNKNOWN
	Verdict health.Verdict     `json:"verdict"`
	Values  map[string]float64 `json:"values"`
	limits  []threshold
}

// judge fills in the values and says how grave it is. What stops the way of events is critical whatever the thresholds say.
func (out *checkJSON) judge(v *sight, limits []threshold, quiet time.Duration) int {
	most := uint64(0)
	for _, k := range v.Consumers {
		most = max(most, k.Pending+uint64(k.AckPending))
	}
	values := []float64{v.Status.Lag.Seconds(), float64(v.Status.Pending), float64(most), float64(v.Status.Parked) + float64(v.Dead)}
	out.Values = map[string]float64{"in_per_second": v.Pulse.In, "out_per_second": v.Pulse.Out}
	code := checkOK
	for i := range limits {
		limits[i].value = values[i]
		out.Values[limits[i].name] = values[i]
		code = max(code, limits[i].state())
	}
	out.limits = limits
	out.Verdict = health.Judge(&v.Facts, health.Limits{Lag: time.Duration(limits[0].warn * float64(time.Second)), Quiet: quiet})
	switch out.Verdict.State {
	case health.Healthy, health.Catching, health.TooSlow, health.Decision: // thresholds say how grave these are
	case health.Paused:
		code = max(code, checkWarning)
	default:
		code = checkCritical
	}
	return code
}

func (out *checkJSON) print(w io.Writer, format string) error {
	switch format {
	case "json":
		return term.JSON(w, out)
	case "prometheus":
		return out.prometheus(w)
	}
	var perf []string
	for i := range out.limits {
		t := &out.limits[i]
		perf = append(perf, fmt.Sprintf("%s=%s%s;%s;%s;0", t.name, decimal(t.value), t.unit, decimal(t.warn), decimal(t.critical)))
	}
	line := fmt.Sprintf("OUTBOX %s - %s: %s", out.State, out.Verdict.State, strings.ReplaceAll(out.Verdict.Detail, "|", "/"))
	if len(perf) > 0 {
		line += " | " + strings.Join(perf, " ")
	}
	_, err := fmt.Fprintln(w, strings.ReplaceAll(line, "\n", " "))
	return err
}

// decimal is a number without an exponent.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (out *checkJSON) prometheus(w io.Writer) error {
	healthy := 0
	if out.State == checkNames[checkOK] {
		healthy = 1
	}
	var b strings.Builder
	gauge := func(name, help string, value float64, label string) {
		fmt.Fprintf(&b, "# HELP outbox_check_%s %s\n# TYPE outbox_check_%[1]s gauge\noutbox_check_%[1]s%[3]s %[4]s\n", name, help, label, decimal(value))
	}
	gauge("healthy", "1 if nothing is wrong; the label says what.", float64(healthy), fmt.Sprintf("{verdict=%q}", out.Verdict.State))
	for _, v := range []struct{ name, help string }{
		{"lag_seconds", "Age of the oldest event that the stream has not acknowledged."}, {"pending", "Events that wait for the stream."},
		{"consumer_pending", "Messages that wait for the consumer that is furthest behind."}, {"dead", "Events that wait for a person."},
		{"in_per_second", "Events that came, over half a minute."}, {"out_per_second", "Events that the stream acknowledged, over half a minute."},
	} {
		if value, ok := out.Values[v.name]; ok {
			gauge(v.name, v.help, value, "")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
