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
		Name: "check", Usage: "report the health of the outbox to a monitoring system", UsageText: "outbox check [-o nagios|prometheus|json] [flags]",
		Description: `Reads the state once, compares it with thresholds, and exits. A threshold is warn or warn:critical.

With -o nagios the exit codes are those of nagios plugins: 0 ok, 1 warning, 2 critical, 3 unknown. With -o prometheus (for
the textfile collector of the node exporter) and -o json they are 0 healthy, 3 not healthy, 69 a server is not available.

Examples:
  outbox check --max-lag 10s:60s --max-dead 0:100
  outbox check -o prometheus
  outbox check -o json | jq .state`,
		Flags: append([]cli.Flag{
			term.OutputFlag("nagios", "prometheus", "json"),
			&cli.StringFlag{Name: "max-lag", Value: "10s:60s", Usage: "`THRESHOLD` of the age of the oldest event that the stream has not acknowledged"},
			&cli.StringFlag{Name: "max-pending", Value: "100000:1000000", Usage: "`THRESHOLD` of the events that the stream has not acknowledged"},
			&cli.StringFlag{Name: "max-consumer-pending", Value: "100000:1000000", Usage: "`THRESHOLD` of the messages that one consumer has not acknowledged"},
			&cli.StringFlag{Name: "max-dead", Value: "0:1000", Usage: "`THRESHOLD` of the events that wait for a person: parked events and dead letters"},
			&cli.DurationFlag{Name: "quiet", Value: 30 * time.Second, Usage: "`TIME` without an ack after which a consumer with pending messages counts as stuck"},
		}, setting.Flags("invalidate", "dead-stream")...),
		Action: action("invalidate", checkHealth),
	}
}

// States of a check, which are the exit codes of a nagios plugin.
const (
	checkOK = iota
	checkWarning
	checkCritical
	checkUnknown
)

var checkNames = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// A threshold is a measured value and its limits.
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

// limit parses warn or warn:critical; parse parses one of the two.
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
		err = fmt.Errorf("want critical of at least warn")
	}
	return warn, critical, err
}

func secondsOf(text string) (float64, error) {
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		err = fmt.Errorf("want 0 or more, got %s", text)
	}
	return d.Seconds(), err
}

func countOf(text string) (float64, error) {
	n, err := strconv.ParseUint(text, 10, 63)
	return float64(n), err
}

// thresholds reads the flags; the values are filled in later.
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
			return nil, exit.Usagef(c, "flag --%s: want warn or warn:critical such as 10:100, or 10s:60s for a time, got %q", flag.name, c.String(flag.name))
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

// read reads the facts and assesses them. failure is the error of a server that was not reached.
func (out *checkJSON) read(ctx context.Context, s *session, limits []threshold) (code int, failure error) {
	l, err := openMonitor(ctx, s)
	if err != nil {
		return checkUnknown, err
	}
	v, err := l.read(ctx)
	if err != nil {
		return checkUnknown, err
	}
	return out.assess(v, limits, s.c.Duration("quiet")), v.Broker
}

// checkCode returns the error that sets the exit code.
func checkCode(format string, code int, failure error, out *checkJSON) error {
	verdict := fmt.Errorf("%s: %s", out.Verdict.State, out.Verdict.Detail)
	switch {
	case format == "nagios" && code != checkOK:
		return exit.With(code, verdict)
	case format == "nagios" || code == checkOK:
		return nil
	case failure != nil:
		return failure
	}
	return exit.With(exit.Findings, verdict)
}

type checkJSON struct {
	State   string             `json:"state"` // OK, WARNING, CRITICAL or UNKNOWN
	Verdict health.Verdict     `json:"verdict"`
	Values  map[string]float64 `json:"values"`
	limits  []threshold
}

// assess fills in the values and returns the state. A verdict that stops the delivery of events is critical whatever
// the thresholds are.
func (out *checkJSON) assess(v *snapshot, limits []threshold, quiet time.Duration) int {
	most := uint64(0)
	for _, k := range v.Consumers {
		most = max(most, k.Pending+uint64(k.AckPending))
	}
	values := []float64{v.Status.Lag.Seconds(), float64(v.Status.Pending), float64(most), float64(v.Status.Parked) + float64(v.Dead)}
	out.Values = map[string]float64{"in_per_second": v.Rates.In, "out_per_second": v.Rates.Out}
	code := checkOK
	for i := range limits {
		limits[i].value = values[i]
		out.Values[limits[i].name] = values[i]
		code = max(code, limits[i].state())
	}
	out.limits = limits
	out.Verdict = health.Assess(&v.Facts, health.Limits{Lag: time.Duration(limits[0].warn * float64(time.Second)), Quiet: quiet})
	switch out.Verdict.State {
	case health.Healthy, health.Catching, health.TooSlow, health.Decision: // the thresholds decide
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
	gauge("healthy", "1 if the outbox is healthy. The label is the verdict.", float64(healthy), fmt.Sprintf("{verdict=%q}", out.Verdict.State))
	for _, v := range []struct{ name, help string }{
		{"lag_seconds", "Age of the oldest event that the stream has not acknowledged."}, {"pending", "Events that the stream has not acknowledged."},
		{"consumer_pending", "Messages that the slowest consumer has not acknowledged."}, {"dead", "Events that wait for a person."},
		{"in_per_second", "Committed events, over 30 s."}, {"out_per_second", "Acknowledged events, over 30 s."},
	} {
		if value, ok := out.Values[v.name]; ok {
			gauge(v.name, v.help, value, "")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
