package outbox

import "strings"

const (
	firstChunk = 512       // bytes; one event needs no more
	lastChunk  = 128 << 10 // bytes
)

// arena cuts strings and byte slices out of chunks, so that a page of rows costs some allocations and not some for each row.
// What it cut stays as it is for ever, and keeps its chunk in memory.
type arena struct {
	text  strings.Builder // append only: String shares its memory
	bytes []byte
	chunk int // size of the next one
}

// next is the size of a chunk that has room for n bytes. Chunks grow: a page of one event stays small.
func (a *arena) next(n int) int {
	a.chunk = min(max(2*a.chunk, firstChunk), lastChunk)
	return max(a.chunk, n)
}

func (a *arena) string(from []byte) string {
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

// copy is nil for nil only.
func (a *arena) copy(from []byte) []byte {
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
