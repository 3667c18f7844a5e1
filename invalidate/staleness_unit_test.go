package invalidate

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestKeyHistoryIsBounded(t *testing.T) {
	t.Parallel()
	h := newKeyHistory()
	for i := range historyKeys + 10 {
		h.add(fmt.Sprint(i), Trace{Sequence: uint64(i)})
		h.add("0", Trace{Sequence: uint64(i)})
	}
	if len(h.traces) != historyKeys || h.order.Len() != historyKeys {
		t.Errorf("%d keys, %d in order", len(h.traces), h.order.Len())
	}
	traces := h.of("0")
	if len(traces) != historyDepth || traces[historyDepth-1].Sequence != historyKeys+9 || traces[0].Sequence != historyKeys+10-historyDepth {
		t.Errorf("traces of the key that was deleted repeatedly: %+v", traces)
	}
	if len(h.of("1")) > 0 || len(h.of(fmt.Sprint(historyKeys))) == 0 {
		t.Error("the history did not remove the oldest keys")
	}
}

// The share of selected events does not depend on the kind of IDs: random, ascending as in version 7, or sequences.
func TestStalenessSampleOfIDs(t *testing.T) {
	t.Parallel()
	const n = 100_000
	for name, id := range map[string]func(i int) uuid.UUID{
		"random":   func(int) uuid.UUID { return uuid.New() },
		"v7":       func(int) uuid.UUID { return uuid.Must(uuid.NewV7()) },
		"sequence": func(i int) (id uuid.UUID) { id[15], id[14], id[13] = byte(i), byte(i>>8), byte(i>>16); return id },
		"high":     func(i int) (id uuid.UUID) { id[0], id[1], id[2] = byte(i), byte(i>>8), byte(i>>16); return id },
	} {
		for _, share := range []float64{0.001, 0.01, 0.5, 1} {
			selected := 0
			s := newSample(share)
			for i := range n {
				if s.has(id(i)) {
					selected++
				}
			}
			if deviation := math.Sqrt(n * share * (1 - share)); math.Abs(float64(selected)-n*share) > 5*deviation {
				t.Errorf("%s: selected %d of %d, want a share of %v", name, selected, n, share)
			}
		}
	}
}

func TestStalenessBound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		violations, checked int64
		want                float64
	}{
		{0, 0, 1}, {0, -5, 1}, {0, 1, 1}, {1, 1, 1}, {5, 3, 1},
		{0, 100, 0.0299573}, {0, 3_000_000, 9.98577e-7},
		// one-sided bounds of Clopper and Pearson, solved with the binomial sum below
		{1, 10, 0.394163}, {1, 100, 0.046560}, {5, 100, 0.102253},
	} {
		if got := Bound(c.violations, c.checked); math.Abs(got-c.want) > 1e-5*c.want {
			t.Errorf("Bound(%d, %d) = %v, want %v", c.violations, c.checked, got, c.want)
		}
	}
	for _, c := range [][2]int64{{1, 2}, {1, 10}, {3, 50}, {49, 50}, {20, 1000}, {7, 2_000_000}, {500, 3_000_000}, {90_000, 100_000}} {
		share := Bound(c[0], c[1])
		if chance := binomial(c[0], c[1], share); math.Abs(chance-0.05) > 1e-6 {
			t.Errorf("Bound(%d, %d) = %v, at which so few violations have a probability of %v, want 0.05", c[0], c[1], share, chance)
		}
	}
}

// binomial returns the probability of at most k violations among n checks.
func binomial(k, n int64, share float64) (sum float64) {
	lnN, _ := math.Lgamma(float64(n + 1))
	for i := range k + 1 {
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(lnN - a - b + float64(i)*math.Log(share) + float64(n-i)*math.Log1p(-share))
	}
	return sum
}

// BenchmarkStalenessSample measures what an event outside the sample costs each consumer.
func BenchmarkStalenessSample(b *testing.B) {
	var msg jetstream.Msg = headersOnly{header: nats.Header{event.HeaderMsgID: {uuid.NewString()}, event.HeaderKey: {"42"}}}
	n := &historyRecorder{history: newKeyHistory(), sample: newSample(1e-18)}
	b.ReportAllocs()
	for b.Loop() {
		n.take(msg, nil, nil)
	}
}

type headersOnly struct {
	jetstream.Msg
	header nats.Header
}

func (m headersOnly) Headers() nats.Header { return m.header }
