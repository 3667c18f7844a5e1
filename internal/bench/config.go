package bench

import (
	"fmt"
	"io"
	"time"
)

// Config configures a run. The zero value of a field of Settings means the scenario's default.
type Config struct {
	Settings
	Servers  *Servers  // required
	Program  string    // outbox, for the relay whose memory is measured; if empty, that relay runs in this process
	Lean     bool      // run only floor and ours, as curves do
	Peers    []Peer    // that drain also runs
	Profile  string    // folder for profiles of the runs of ours; if empty, there are none
	Progress io.Writer // receives a line for each run; may be nil
}

// Settings are the size and shape of the load. A scenario does not use those that are 0 in its defaults.
type Settings struct {
	Runs      int           `json:"runs,omitzero"`        // of each arm; defaults to 5
	Events    int           `json:"events,omitzero"`      // of a run
	Payload   int           `json:"payload,omitzero"`     // bytes of an event; defaults to 200
	Duration  time.Duration `json:"duration_ns,omitzero"` // of a run that is not limited by events
	Rate      int           `json:"rate,omitzero"`        // events a second, for loads with a fixed rate
	Clients   int           `json:"clients,omitzero"`     // concurrent writers
	Replicas  int           `json:"replicas,omitzero"`    // of streams
	Keys      int           `json:"keys,omitzero"`        // keys that an event makes stale, or members of a tag
	Batch     int           `json:"batch,omitzero"`       // events that a relay plans at a time
	Window    int           `json:"window,omitzero"`      // messages that are published and not yet acknowledged
	Instances int           `json:"instances,omitzero"`   // relays, each with an outbox and a stream; or invalidators of one consumer
	Parts     int           `json:"partitions,omitzero"`  // least number of partitions of the outbox
}

// or replaces fields that are 0 by defaults, and clears those that are 0 in the defaults.
func (s Settings) or(d Settings) Settings {
	for _, f := range []struct{ have, want *int }{
		{&s.Runs, &d.Runs}, {&s.Events, &d.Events}, {&s.Payload, &d.Payload}, {&s.Rate, &d.Rate}, {&s.Clients, &d.Clients},
		{&s.Replicas, &d.Replicas}, {&s.Keys, &d.Keys}, {&s.Batch, &d.Batch}, {&s.Window, &d.Window}, {&s.Instances, &d.Instances}, {&s.Parts, &d.Parts},
	} {
		if *f.have == 0 || *f.want == 0 {
			*f.have = *f.want
		}
	}
	if s.Duration == 0 || d.Duration == 0 {
		s.Duration = d.Duration
	}
	return s
}

// Check returns an error if a setting is out of range. 0 is always allowed.
func (s Settings) Check() error {
	for _, f := range []struct {
		name              string
		have, least, most int
	}{
		{"runs", s.Runs, 1, 100}, {"events", s.Events, 1, 100_000_000}, {"payload", s.Payload, 1, 983_040}, {"rate", s.Rate, 1, 1_000_000},
		{"clients", s.Clients, 1, 500}, {"replicas", s.Replicas, 1, 5}, {"keys", s.Keys, 1, 1_000_000}, {"batch", s.Batch, 1, 100_000},
		{"window", s.Window, 1, 10_000}, {"instances", s.Instances, 1, 64}, {"partitions", s.Parts, 1, 1000},
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

// progress writes a line to Config.Progress.
func (c *Config) progress(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}
