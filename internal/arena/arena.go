// Package arena cuts many short-lived texts out of few allocations.
package arena

import "strings"

const (
	firstChunk = 512       // bytes; one event needs no more
	lastChunk  = 128 << 10 // bytes
)

// Arena copies strings and byte slices into chunks that it allocates as needed, so that a page of rows costs a few
// allocations instead of several per row. The copies stay valid, and keep their whole chunk in memory. The zero value is
// ready to use. Not safe for concurrent use.
type Arena struct {
	text  strings.Builder // append only: String shares its memory
	bytes []byte
	chunk int // size of the last chunk
}

// next returns the size of a new chunk that holds at least n bytes. Chunks double, so a page of one event stays small.
func (a *Arena) next(n int) int {
	a.chunk = min(max(2*a.chunk, firstChunk), lastChunk)
	return max(a.chunk, n)
}

// String returns a copy of from as a string.
func (a *Arena) String(from []byte) string {
	if len(from) == 0 {
		return ""
	}
	if a.text.Cap()-a.text.Len() < len(from) {
		a.text = strings.Builder{}
		a.text.Grow(a.next(len(from)))
	}
	start := a.text.Len()
	a.text.Write(from) //nolint:errcheck // a Builder never fails
	return a.text.String()[start:]
}

// Bytes returns a copy of from. Only nil gives nil.
func (a *Arena) Bytes(from []byte) []byte {
	if from == nil {
		return nil
	}
	if cap(a.bytes)-len(a.bytes) < len(from) {
		a.bytes = make([]byte, 0, a.next(len(from)))
	}
	start := len(a.bytes)
	a.bytes = append(a.bytes, from...)
	return a.bytes[start:len(a.bytes):len(a.bytes)]
}
