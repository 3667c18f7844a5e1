package demo

import (
	"math/bits"
	"sync"
	"time"
)

// A histogram counts durations from a microsecond to hours in buckets 3 % wide, in constant memory. It is safe for concurrent
// use.
type histogram struct {
	mu     sync.Mutex
	counts [histogramBuckets]uint64
	total  uint64
}

const (
	histogramBuckets = 1024
	subBuckets       = 32 // of each power of two
)

// observe counts a duration. A negative one, which two clocks may produce, counts as zero.
func (h *histogram) observe(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.counts[bucketOf(d)]++
	h.total++
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	shift := max(bits.Len64(us)-6, 0)
	return min(shift*subBuckets+int(us>>shift), histogramBuckets-1)
}

// middle returns the duration in the middle of a bucket.
func middle(bucket int) time.Duration {
	shift := max(bucket/subBuckets-1, 0)
	low := uint64(bucket-shift*subBuckets) << shift
	return time.Duration(low)*time.Microsecond + time.Duration(uint64(1)<<shift>>1)*time.Microsecond
}

// quantile returns the duration that a share q of all does not exceed, where 0 < q ≤ 1; 0 if there are none.
func (h *histogram) quantile(q float64) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.total == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.total)+0.5), 1)
	var seen uint64
	for bucket, n := range h.counts {
		if seen += n; seen >= rank {
			return middle(bucket)
		}
	}
	return middle(histogramBuckets - 1)
}

// A delay has two histograms: one of all events, and one of those that no fault disturbed.
type delay struct{ all, calm histogram }

func (d *delay) observe(late time.Duration, disturbed bool) {
	d.all.observe(late)
	if !disturbed {
		d.calm.observe(late)
	}
}

// Quantiles are of durations, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{P50: milliseconds(h.quantile(0.50)), P99: milliseconds(h.quantile(0.99))}
}

// milliseconds rounds to the precision of the buckets.
func milliseconds(d time.Duration) float64 {
	digits := 10 * time.Microsecond
	for d >= 1000*digits {
		digits *= 10
	}
	return float64(d.Round(digits).Microseconds()) / 1000
}
