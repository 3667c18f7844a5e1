package demo

import (
	"bytes"
	"sync"
)

// lines takes what a program says: it hands out each line and keeps the last few. Safe for concurrent use.
type lines struct {
	each func([]byte) // nil: nobody listens

	mu   sync.Mutex
	part []byte   // of a line that is not complete
	last [][]byte // complete lines, the newest last
}

const (
	keptLines = 12
	longLine  = 4096 // bytes of a line that are kept
)

func (l *lines) Write(data []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := data; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte("\n"))
		l.part = append(l.part, line[:min(len(line), max(longLine-len(l.part), 0))]...)
		if complete {
			l.take()
		}
		rest = after
	}
	return len(data), nil
}

func (l *lines) take() {
	line := bytes.Clone(l.part)
	l.part = l.part[:0]
	if l.each != nil {
		l.each(line)
	}
	l.last = append(l.last, line)
	l.last = l.last[max(0, len(l.last)-keptLines):]
}

// tail returns the last lines.
func (l *lines) tail() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Join(append(l.last[:len(l.last):len(l.last)], l.part), []byte("\n"))
}
