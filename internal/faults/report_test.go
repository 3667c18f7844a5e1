package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/report"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
)

// Environment variables that make targets set.
const (
	sizeEnv = "OUTBOX_FAULTS"     // full; any other value means the small size
	seedEnv = "OUTBOX_SEED"       // seed of all random choices; the tests log it
	docEnv  = "OUTBOX_FAULTS_DOC" // document that receives the table
)

func TestMain(m *testing.M) {
	if text := os.Getenv(relayChildEnv); text != "" {
		fmt.Fprintln(os.Stderr, runRelayChild(text))
		os.Exit(1)
	}
	redis.SetLogger(silent{}) // the client logs every failed dial while a scenario has Redis stopped
	devtest.Main(m, outboxTool.remove, natsTool.remove)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func full() bool { return os.Getenv(sizeEnv) == "full" }

// times returns how often a fault is injected: small in `make test`, large at full size.
func times(small, large int) int {
	if full() {
		return large
	}
	return small
}

var seed = sync.OnceValue(func() uint64 {
	if n, err := strconv.ParseUint(os.Getenv(seedEnv), 10, 64); err == nil {
		return n
	}
	return rand.Uint64N(1_000_000)
})

// row is the result of a scenario, one line of the table.
type row struct {
	fault      string // description
	faults     int    // injected
	recoveries []time.Duration
	measure    string // what recoveries measure; empty means the time until an event is in the stream
	verdict    verify.Verdict
	stale      int
	note       string
}

// rows of the scenarios that passed, in order.
var rows []row

// runScenario runs one scenario, and adds its row to rows if it passes.
func runScenario(t *testing.T, fault string, o options, run func(s *scenario)) {
	t.Helper()
	s := newScenario(t, o)
	s.row.fault = fault
	run(s)
	if !t.Failed() {
		rows = append(rows, s.row)
		t.Log(s.row.cells()...)
	}
}

// cells returns the columns of the table.
func (r *row) cells() []any {
	v := r.verdict
	result := fmt.Sprintf("%d lost, %d twice, %d reordered", v.Lost, v.Twice, v.Reordered)
	if r.stale > 0 {
		result += fmt.Sprintf(", %d stale", r.stale)
	}
	for _, more := range []struct {
		n    int64
		what string
	}{{v.Parked, "parked"}, {v.Again, "published again at the end"}, {v.Foreign, "foreign"}} {
		if more.n > 0 {
			result += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	if r.note != "" {
		result += "; " + r.note
	}
	return []any{r.fault, r.faults, v.Committed, result, r.recovery()}
}

func (r *row) recovery() string {
	if len(r.recoveries) == 0 {
		return ""
	}
	slices.Sort(r.recoveries)
	median, most := r.recoveries[len(r.recoveries)/2], r.recoveries[len(r.recoveries)-1]
	text := short(median) + ", at most " + short(most)
	if len(r.recoveries) == 1 {
		text = short(most)
	}
	if r.measure != "" {
		text += " (" + r.measure + ")"
	}
	return text
}

func short(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// writeTable writes the rows into section faults of the document in OUTBOX_FAULTS_DOC. It does nothing if that is empty.
func writeTable() error {
	path := os.Getenv(docEnv)
	if path == "" || len(rows) == 0 {
		return nil
	}
	table := report.NewTable("lllll", "fault", "injected", "events", "result", "time to recover (median, most)")
	injected, events := 0, int64(0)
	for i := range rows {
		table.Row(rows[i].cells()...)
		injected += rows[i].faults
		events += rows[i].verdict.Committed
	}
	table.Row("all", injected, events, fmt.Sprintf("seed %d", seed()), "")
	return report.UpdatePage(path, report.Section{Name: "faults", Text: table.String()})
}

// sizeFrom returns the number in an environment variable, or small if the variable is empty.
func sizeFrom(t *testing.T, env string, small int) int {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return small
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("invalid number in %s: %v", env, err)
	}
	return n
}

// durationFrom returns the duration in an environment variable, or 0 if the variable is empty.
func durationFrom(t *testing.T, env string) time.Duration {
	t.Helper()
	text := os.Getenv(env)
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("invalid duration in %s: %v", env, err)
	}
	return d
}
