package audit

import "math/bits"

const (
	chunkBits  = 1 << 16 // numbers in a chunk
	chunkWords = chunkBits / 64
)

// bitset is a set of numbers from 0 on, one bit each. It allocates chunks when they are needed, so that a gap in the numbers costs
// nothing. It is not safe for concurrent use.
type bitset struct {
	chunks map[int64]*[chunkWords]uint64
	number int64 // of the chunk used last
	last   *[chunkWords]uint64
}

func newBitset() *bitset { return &bitset{chunks: make(map[int64]*[chunkWords]uint64), number: -1} }

// chunk returns the chunk of a number. If there is none, it makes one or returns nil.
func (b *bitset) chunk(n int64, make bool) *[chunkWords]uint64 {
	if number := n / chunkBits; number != b.number {
		c := b.chunks[number]
		if c == nil {
			if !make {
				return nil
			}
			c = new([chunkWords]uint64)
			b.chunks[number] = c
		}
		b.number, b.last = number, c
	}
	return b.last
}

// set adds a number and reports whether the set had it already.
func (b *bitset) set(n int64) (was bool) {
	word, bit := &b.chunk(n, true)[n%chunkBits/64], uint64(1)<<(n%64)
	was = *word&bit != 0
	*word |= bit
	return was
}

func (b *bitset) has(n int64) bool {
	c := b.chunk(n, false)
	return c != nil && c[n%chunkBits/64]&(1<<(n%64)) != 0
}

// setRun adds the numbers from first through last.
func (b *bitset) setRun(first, last int64) {
	for n := first; n <= last; {
		end := min(last, n|63) // of its word
		b.chunk(n, true)[n%chunkBits/64] |= ^uint64(0) << (n % 64) & (^uint64(0) >> (63 - end%64))
		n = end + 1
	}
}

// count returns how many numbers from first through last the set has.
func (b *bitset) count(first, last int64) (total int64) {
	for n := first; n <= last; {
		c := b.chunk(n, false)
		if c == nil {
			n = n/chunkBits*chunkBits + chunkBits
			continue
		}
		end := min(last, n|63)
		total += int64(bits.OnesCount64(c[n%chunkBits/64] & (^uint64(0) << (n % 64)) & (^uint64(0) >> (63 - end%64))))
		n = end + 1
	}
	return total
}

// gap returns the next run of numbers from first through last that the set does not have, at most most of them; false if there is none.
func (b *bitset) gap(first, last, most int64) (from, to int64, ok bool) {
	n := first
	for n <= last {
		if c := b.chunk(n, false); c != nil && n%64 == 0 && c[n%chunkBits/64] == ^uint64(0) {
			n += 64
		} else if b.has(n) {
			n++
		} else {
			break
		}
	}
	if n > last {
		return 0, 0, false
	}
	from = n
	for n < last && n-from+1 < most && !b.has(n+1) {
		n++
	}
	return from, n, true
}
