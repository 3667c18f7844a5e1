package relay

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Stats is a snapshot of what a Relay has done since New.
type Stats struct {
	Leads      bool      // leads now
	Asleep     bool      // leads and sleeps: writers notify
	Connected  bool      // leads and knows where the stream ends
	Paused     bool      // leads, and a person paused it
	PausedFor  string    // reason and author of the pause; empty when not paused
	Published  uint64    // events acknowledged by the stream
	Parked     uint64    // events parked
	Batches    uint64    // batches planned
	Resumes    uint64    // times the relay read the end of the stream to resume
	Rebases    uint64    // times the base moved: the first one, a foreign message, a recreated stream
	Foreign    uint64    // messages in the stream that are not ours
	Lost       uint64    // acknowledged messages that the stream lost, published again
	Removed    uint64    // events whose messages were removed from the stream, published again or accepted
	Gone       uint64    // positions whose event the table had dropped when the stream needed it again
	Dropped    uint64    // partitions dropped
	InDefault  int       // events in the default partition, counted up to 1000
	Wakes      uint64    // wake-ups by NOTIFY
	Polls      uint64    // polls that found nothing
	Position   int64     // last position acknowledged
	Sequence   uint64    // of its message in the stream
	LastAck    time.Time // when that was; zero before the first
	LastEvent  time.Time // when that event was inserted, by the clock of the database; zero before the first
	InFlight   int       // published and not acknowledged
	LastError  string    // why it last had to resume or reconnect; empty if it never had to
	LastErrors uint64    // how often it had to
}

// counters are written by the relay's goroutines and read by any goroutine.
type counters struct {
	leads, asleep, connected                                                    atomic.Bool
	published, parked, batches, resumes, rebases, foreign, lost, removed, wakes atomic.Uint64
	polls, errors, sequence, gone, dropped                                      atomic.Uint64
	position, lastAck, lastEvent, inFlight, inDefault                           atomic.Int64
	lastError                                                                   atomic.Pointer[string]
	paused                                                                      atomic.Pointer[table.Pause]
}

func (c *counters) failed(err error) {
	text := err.Error()
	c.lastError.Store(&text)
	c.errors.Add(1)
}

// Stats returns a snapshot. It is safe for concurrent use, before, during and after Run.
func (r *Relay) Stats() Stats {
	c := &r.stats
	s := Stats{
		Leads: c.leads.Load(), Asleep: c.asleep.Load(), Connected: c.connected.Load(),
		Published: c.published.Load(), Parked: c.parked.Load(), Batches: c.batches.Load(),
		Resumes: c.resumes.Load(), Rebases: c.rebases.Load(), Foreign: c.foreign.Load(), Lost: c.lost.Load(), Removed: c.removed.Load(),
		Gone: c.gone.Load(), Dropped: c.dropped.Load(), InDefault: int(c.inDefault.Load()),
		Wakes: c.wakes.Load(), Polls: c.polls.Load(), LastErrors: c.errors.Load(),
		Position: c.position.Load(), Sequence: c.sequence.Load(), InFlight: int(c.inFlight.Load()),
	}
	if ns := c.lastAck.Load(); ns != 0 {
		s.LastAck = time.Unix(0, ns)
	}
	if ns := c.lastEvent.Load(); ns != 0 {
		s.LastEvent = time.Unix(0, ns)
	}
	if p := c.paused.Load(); p != nil {
		s.Paused, s.PausedFor = true, fmt.Sprintf("%s, by %s", p.Reason, p.Author)
	}
	if text := c.lastError.Load(); text != nil {
		s.LastError = *text
	}
	return s
}
