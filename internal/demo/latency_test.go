package demo

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestQuantilesAreWithinThreePercent(t *testing.T) {
	t.Parallel()
	var h histogram
	var all []time.Duration
	random := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(20*time.Millisecond))
		h.observe(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		want := all[max(int(q*float64(len(all)))-1, 0)]
		got := h.quantile(q)
		if diff := (got - want).Abs(); diff > want*3/100+time.Microsecond {
			t.Errorf("quantile %v: %v, want %v", q, got, want)
		}
	}
}

func TestHistogramAtItsLimits(t *testing.T) {
	t.Parallel()
	var h histogram
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("of no durations: %v", got)
	}
	h.observe(-time.Second)
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("a negative duration: %v", got)
	}
	for range 9 {
		h.observe(1000 * time.Hour)
	}
	if got := h.quantile(0.99); got < time.Hour {
		t.Errorf("beyond the last bucket: %v", got)
	}
	if low := h.quantile(0.1); low != 0 {
		t.Errorf("the lowest of ten: %v", low)
	}
	for bucket := 1; bucket < histogramBuckets; bucket++ {
		if middle(bucket) <= middle(bucket-1) || bucketOf(middle(bucket)) != bucket {
			t.Fatalf("bucket %d: middle %v is in bucket %d", bucket, middle(bucket), bucketOf(middle(bucket)))
		}
	}
}

func TestDelaySeparatesDisturbedEvents(t *testing.T) {
	t.Parallel()
	var d delay
	for range 99 {
		d.observe(time.Millisecond, false)
	}
	d.observe(5*time.Second, true)
	if p99 := d.calm.quantiles().P99; p99 > 1.1 {
		t.Errorf("p99 without faults: %v ms", p99)
	}
	if p100 := d.all.quantile(1); p100 < 4900*time.Millisecond {
		t.Errorf("the slowest of all: %v", p100)
	}
}
