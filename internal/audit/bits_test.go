package audit

import (
	"math/rand/v2"
	"testing"
)

// A bitset is what a map of bools is.
func TestBitset(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		b, want := newBitset(), map[int64]bool{}
		base := []int64{0, chunkBits - 100, 1 << 40}[random.IntN(3)]
		for range 20 {
			first := base + random.Int64N(500)
			last := first + random.Int64N(150)
			if random.IntN(2) == 0 {
				last = first
				if b.set(first) != want[first] {
					t.Fatalf("set %d", first)
				}
			} else {
				b.setRun(first, last)
			}
			for n := first; n <= last; n++ {
				want[n] = true
			}
		}
		n, low, high := int64(0), base+random.Int64N(300), base+300+random.Int64N(500)
		for i := low; i <= high; i++ {
			if b.has(i) != want[i] {
				t.Fatalf("has %d: %v", i, b.has(i))
			}
			if want[i] {
				n++
			}
		}
		if got := b.count(low, high); got != n {
			t.Fatalf("count %d, want %d", got, n)
		}
		for at := low; ; {
			from, to, ok := b.gap(at, high, 7)
			for ; at <= high && (!ok || at < from); at++ {
				if !want[at] {
					t.Fatalf("%d is left out", at)
				}
			}
			if !ok {
				break
			}
			if to-from >= 7 || to > high {
				t.Fatalf("gap from %d to %d", from, to)
			}
			for ; at <= to; at++ {
				if want[at] {
					t.Fatalf("%d is there", at)
				}
			}
		}
	}
}
