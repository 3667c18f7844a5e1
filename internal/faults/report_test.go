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

// Variables that make targets set.
const (
	sizeEnv = "OUTBOX_FAULTS" // full, or empty for the small size
	seedEnv = "OUTBOX_SEED"   // of everything random; printed
	docEnv  = "OUTBOX_FAULTS_DOC"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(relayChildEnv); text != "" {
		fmt.Fprintln(os.Stderr, beRelayChild(text))
		os.Exit(1)
	}
	redis.SetLogger(silent{}) // it tells of every dial that fails while a scenario has Redis stopped
	devtest.Main(m, outboxTool.remove, natsTool.remove)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

func full() bool { return os.Getenv(sizeEnv) == "full" }

// times is how often a fault is injected: small in `make test`.
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

// row is one line of the table.
type row struct {
	fault      string
	faults     int
	recoveries []time.Duration
	measure    string // what recoveries are, if not the time until the stream has an event
	verdict    verify.Verdict
	stale      int
	note       string
}

// rows of the scenarios that ran, in order.
var rows []row

// scenario runs one, and adds its row when it is through.
func scenario(t *testing.T, fault string, o options, run func(s *scene)) {
	t.Helper()
	s := newScene(t, o)
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

// writeTable puts the rows into the document that OUTBOX_FAULTS_DOC names.
func writeTable() error {
	path := os.Getenv(docEnv)
	if path == "" || len(rows) == 0 {
		return nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegins)
	_, after, found := strings.Cut(rest, tableEnds)
	if !ok || !found {
		return fmt.Errorf("%s has no place for the table", path)
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
	return os.WriteFile(path, []byte(before+tableBegins+"\n"+b.String()+"\n"+tableEnds+after), 0o644)
}
