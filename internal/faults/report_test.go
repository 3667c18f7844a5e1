package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
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
		t.Log(s.row.line())
	}
}

func (r *row) line() string {
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
	return fmt.Sprintf("| %s | %d | %d | %s | %s |", r.fault, r.faults, v.Committed, result, r.recovery())
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

const (
	tableBegins = "<!-- table of make faults -->\n"
	tableEnds   = "<!-- end of table -->\n"
)

// writeTable writes the rows into the document in OUTBOX_FAULTS_DOC. It does nothing if that is empty.
func writeTable() error {
	path := os.Getenv(docEnv)
	if path == "" || len(rows) == 0 {
		return nil
	}
	var b strings.Builder
	injected, events := 0, int64(0)
	b.WriteString("| fault | injected | events | result | time to recover (median, most) |\n|---|---|---|---|---|\n")
	for i := range rows {
		b.WriteString(rows[i].line() + "\n")
		injected += rows[i].faults
		events += rows[i].verdict.Committed
	}
	fmt.Fprintf(&b, "| all | %d | %d | seed %d | |\n", injected, events, seed())
	return replaceSection(path, tableBegins, tableEnds, b.String())
}

// replaceSection replaces the text between two markers in a file.
func replaceSection(path, begins, ends, section string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), begins)
	_, after, found := strings.Cut(rest, ends)
	if !ok || !found {
		return fmt.Errorf("update %s: want the markers %q and %q", path, strings.TrimSpace(begins), strings.TrimSpace(ends))
	}
	return os.WriteFile(path, []byte(before+begins+"\n"+section+"\n"+ends+after), 0o644)
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
