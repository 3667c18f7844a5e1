package bench

import (
	"fmt"
	"io"
	"time"
)

// Config says on which servers, how long and how large. The zero value of a field means the scenario's own default.
type Config struct {
	Settings
	Servers  *Servers  // Required
	Program  string    // outbox, for the relay whose memory is looked at. Empty: that relay runs in this process
	Lean     bool      // leave out the arms beside floor and ours, as curves do
	Peers    []Peer    // that drain takes in
	Profile  string    // folder for profiles of each run of ours; empty: none
	Progress io.Writer // receives a line for each run. Defaults to nowhere
}

// Settings are what a result depends on, and what it shows. A scenario leaves at 0 what it does not use.
type Settings struct {
	Runs     int           `json:"runs,omitzero"`        // pairs of floor and ours; defaults to 5
	Events   int           `json:"events,omitzero"`      // in one run
	Payload  int           `json:"payload,omitzero"`     // bytes of one; defaults to 200
	Duration time.Duration `json:"duration_ns,omitzero"` // of one run, where time and not events ends it
	Rate     int           `json:"rate,omitzero"`        // events a second, where the load has a pace
	Clients  int           `json:"clients,omitzero"`     // that write at the same time
	Replicas int           `json:"replicas,omitzero"`    // of streams
	Keys     int           `json:"keys,omitzero"`        // that an event makes stale; or members of a tag
	Batch    int           `json:"batch,omitzero"`       // events that a relay plans at once
	Window   int           `json:"window,omitzero"`      // events published and not acknowledged
	Fleet    int           `json:"fleet,omitzero"`       // relays, each with an outbox and a stream; or invalidators of one consumer
	Parts    int           `json:"partitions,omitzero"`  // of the outbox, at least
}

// or fills what is 0 from defaults.
func (s Settings) or(d Settings) Settings {
	for _, f := range []struct{ have, want *int }{
		{&s.Runs, &d.Runs}, {&s.Events, &d.Events}, {&s.Payload, &d.Payload}, {&s.Rate, &d.Rate}, {&s.Clients, &d.Clients},
		{&s.Replicas, &d.Replicas}, {&s.Keys, &d.Keys}, {&s.Batch, &d.Batch}, {&s.Window, &d.Window}, {&s.Fleet, &d.Fleet}, {&s.Parts, &d.Parts},
	} {
		if *f.have == 0 || *f.want == 0 { // what the scenario does not use is not shown either
			*f.have = *f.want
		}
	}
	if s.Duration == 0 || d.Duration == 0 {
		s.Duration = d.Duration
	}
	return s
}

// Check says what is out of bounds.
func (s Settings) Check() error {
	for _, f := range []struct {
		name              string
		have, least, most int
	}{
		{"runs", s.Runs, 1, 100}, {"events", s.Events, 1, 100_000_000}, {"payload", s.Payload, 1, 983_040}, {"rate", s.Rate, 1, 1_000_000},
		{"clients", s.Clients, 1, 500}, {"replicas", s.Replicas, 1, 5}, {"keys", s.Keys, 1, 1_000_000}, {"batch", s.Batch, 1, 100_000},
		{"window", s.Window, 1, 10_000}, {"fleet", s.Fleet, 1, 64}, {"partitions", s.Parts, 1, 1000},
	} {
		if f.have != 0 && (f.have < f.least || f.have > f.most) {
			return fmt.Errorf("%s %d: want %d to %d", f.name, f.have, f.least, f.most)
		}
	}
	if s.Duration != 0 && (s.Duration < 100*time.Millisecond || s.Duration > time.Hour) {
		return fmt.Errorf("duration %s: want 100ms to 1h", s.Duration)
	}
	return nil
}

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}
