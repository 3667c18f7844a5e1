package staleness

import (
	"sync"
	"time"
)

// A Ledger knows since when each version of each row is known to be committed. Times are since the start of the arm. It is
// safe for concurrent use.
type Ledger struct{ rows []history }

// history of a row: since[v] is when a COMMIT had returned that made version v visible, its own or that of a later version.
type history struct {
	mu    sync.Mutex
	since []time.Duration
}

// NewLedger returns the ledger of rows 0 to n-1, all at version 0.
func NewLedger(n int) *Ledger {
	l := &Ledger{rows: make([]history, n)}
	for i := range l.rows {
		l.rows[i].since = []time.Duration{0}
	}
	return l
}

// Committed notes that the COMMIT of a version had returned at a time. Versions that came before it are committed then too,
// since each waits for the lock of the row: their own notes, if they come later, change nothing.
func (l *Ledger) Committed(row, version int, at time.Duration) {
	h := &l.rows[row]
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.since) <= version {
		h.since = append(h.since, at)
	}
}

// Superseded says since when a newer version than this one is known to be committed, and whether there is one.
func (l *Ledger) Superseded(row, version int) (since time.Duration, ok bool) {
	h := &l.rows[row]
	h.mu.Lock()
	defer h.mu.Unlock()
	if version+1 >= len(h.since) {
		return 0, false
	}
	return h.since[version+1], true
}
