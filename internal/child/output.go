package child

import (
	"bytes"
	"cmp"
	"strings"
	"sync"
)

const (
	defaultKeep = 64 << 10
	longestLine = 4096 // bytes of a line that OnLine receives
)

// An Output is an io.Writer that keeps the end of what a program writes. It is safe for concurrent use; its fields must be
// set before the program starts.
type Output struct {
	// Keep is how many bytes are kept. Defaults to 64 KiB.
	Keep int
	// OnLine, if set, receives the first 4 KiB of each complete line, without its line feed. It must not retain the slice.
	OnLine func(line []byte)

	mu      sync.Mutex
	text    bytes.Buffer
	written int    // bytes, including those that are no longer kept
	line    []byte // the incomplete last line; only for OnLine
}

// Write never fails.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	o.written += len(p)
	if excess := o.text.Len() - cmp.Or(o.Keep, defaultKeep); excess > 0 {
		o.text.Next(excess)
	}
	if o.OnLine != nil {
		o.passLines(p)
	}
	return len(p), nil
}

func (o *Output) passLines(p []byte) {
	for len(p) > 0 {
		part, rest, complete := bytes.Cut(p, []byte("\n"))
		o.line = append(o.line, part[:min(len(part), max(longestLine-len(o.line), 0))]...)
		if complete {
			o.OnLine(o.line)
			o.line = o.line[:0]
		}
		p = rest
	}
}

// String returns everything that is kept.
func (o *Output) String() string { return o.Since(0) }

// Tail returns at most the last 4 KiB, without surrounding white space.
func (o *Output) Tail() string {
	text := o.String()
	return strings.TrimSpace(text[max(0, len(text)-4096):])
}

// Mark returns the current end of the output, for Since.
func (o *Output) Mark() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.written
}

// Since returns what was written after a mark and is still kept.
func (o *Output) Since(mark int) string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.text.Bytes()[max(0, o.text.Len()-(o.written-mark)):])
}
