package staleness

import (
	"sync"
	"time"
)

// A Ledger records since when each version of each row is known to be committed. Times count from the start of the arm. It
// is safe for concurrent use.
type Ledger struct{ rows []history }

// history is that of a row: since[v] is when a COMMIT returned that made version v visible. It may be the COMMIT of a later
// version.
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

// Committed records that the COMMIT of a version returned at a time. Earlier versions were committed by then, because each
// update waits for the lock of the row; Committed has no effect for them afterwards.
func (l *Ledger) Committed(row, version int, at time.Duration) {
	h := &l.rows[row]
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.since) <= version {
		h.since = append(h.since, at)
	}
}

// Superseded returns since when a newer version than this one is known to be committed, and whether there is one.
func (l *Ledger) Superseded(row, version int) (since time.Duration, ok bool) {
	h := &l.rows[row]
	h.mu.Lock()
	defer h.mu.Unlock()
	if version+1 >= len(h.since) {
		return 0, false
	}
	return h.since[version+1], true
}
