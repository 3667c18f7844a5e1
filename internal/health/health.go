// Package health condenses the state of an outbox, its stream and its consumers into one verdict for a person on
// call: the gravest trouble, and the command to run next.
package health

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// States of a verdict, the gravest first. Check returns the first one that applies.
const (
	Paused        = "paused"           // a person paused the relay
	BrokerDown    = "broker down"      // NATS is not reachable
	NoStream      = "no stream"        // the stream does not exist
	Recreated     = "stream recreated" // the stream was deleted and created again
	LostData      = "stream lost data" // the stream ends before a sequence that it acknowledged
	Blocked       = "database blocked" // a relay waits for a lock of another session
	RelayDown     = "relay down"       // no relay leads
	Stuck         = "relay stuck"      // a relay leads, events are pending, and the stream acknowledges none
	TooSlow       = "relay too slow"   // events are pending, and more come in than go out
	Catching      = "catching up"      // events are pending, and more go out than come in
	ConsumerStuck = "consumer stuck"   // a consumer with pending messages has not acknowledged any for long
	Decision      = "decision needed"  // dead events wait for a person
	Healthy       = "healthy"
)

// Consumer is the state of a consumer of the stream.
type Consumer struct {
	Name        string
	Pending     uint64 // messages not yet delivered
	AckPending  int    // messages delivered and not acknowledged
	Redelivered int
	Waiting     int        // pull requests that wait for messages; 0 if nobody reads
	PausedUntil *time.Time // pause in JetStream; nil if there is none
	Floor       uint64     // sequence up to which every message is acknowledged
	Delivered   uint64     // sequence that was delivered last
	LastAck     time.Time  // zero if it never acknowledged one
	Oldest      time.Time  // when the oldest unacknowledged message was stored; zero if there is none, or unknown
}

// Stream is the state of the stream.
type Stream struct {
	Created time.Time
	Last    uint64
}

// Facts is what Check decides from.
type Facts struct {
	Status    table.Status
	Rates     table.Rates
	Paused    string // how the relay is paused, such as "paused since …"; empty if it is not
	Broker    error  // why NATS is not reachable; Stream and Consumers are empty then
	Stream    *Stream
	Name      string // of the stream
	Consumers []Consumer
	Dead      int // dead letters
	Now       time.Time
}

// Limits bounds what is healthy. The zero value of a field means its default.
type Limits struct {
	Lag   time.Duration // age of the oldest pending event. Defaults to 10 s
	Quiet time.Duration // time without an ack while there is work, of the stream and of each consumer. Defaults to 30 s
}

func (l *Limits) setDefaults() {
	if l.Lag == 0 {
		l.Lag = 10 * time.Second
	}
	if l.Quiet == 0 {
		l.Quiet = 30 * time.Second
	}
}

// Verdict is a state with a line that explains it, and the command to run next.
type Verdict struct {
	State  string `json:"state"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

// Check returns the verdict.
func Check(f *Facts, limits Limits) Verdict {
	limits.setDefaults()
	for _, check := range []func(*Facts, *Limits) *Verdict{paused, broker, database, relaying, consumers, decisions} {
		if v := check(f, &limits); v != nil {
			return *v
		}
	}
	return Verdict{State: Healthy, Detail: "every committed event is published, and no consumer is late"}
}

func verdict(state, next, format string, args ...any) *Verdict {
	return &Verdict{State: state, Detail: fmt.Sprintf(format, args...), Next: next}
}

func paused(f *Facts, _ *Limits) *Verdict {
	if f.Paused == "" {
		return nil
	}
	return verdict(Paused, "outbox resume --relay", "the relay is %s; %d events pending", f.Paused, f.Status.Pending)
}

func broker(f *Facts, _ *Limits) *Verdict {
	switch {
	case f.Broker != nil:
		return verdict(BrokerDown, "outbox doctor --skip postgres,redis", "NATS is not reachable; %d events pending: %v", f.Status.Pending, f.Broker)
	case f.Stream == nil && f.Status.Leader == "" && f.Status.Pending == 0:
		return verdict(NoStream, "outbox relay --stream "+f.Name+" --subjects …", "stream %s does not exist yet, and no relay runs", f.Name)
	case f.Stream == nil:
		return verdict(NoStream, "outbox doctor", "stream %s does not exist; %d events pending", f.Name, f.Status.Pending)
	case !f.Rates.StreamCreated.IsZero() && f.Rates.StreamCreated.UnixMicro() != f.Stream.Created.UnixMicro():
		return verdict(Recreated, "outbox audit", "stream %s was deleted and created again at %s; the relay has published nothing to it yet", f.Name, f.Stream.Created.Format(time.RFC3339))
	case f.Stream.Last < f.Status.Sequence:
		return verdict(LostData, "outbox audit", "stream %s ends at sequence %d, but acknowledged sequence %d; the relay publishes the lost events again", f.Name, f.Stream.Last, f.Status.Sequence)
	}
	return nil
}

func database(f *Facts, limits *Limits) *Verdict {
	for _, b := range f.Rates.Blocked {
		if b.Waits > time.Second {
			who := b.Application
			if who == "" {
				who = "unnamed application"
			}
			return verdict(Blocked, fmt.Sprintf("SELECT pg_terminate_backend(%d)", b.By), "a relay (pid %d) has waited %s for a lock of pid %d (%s of role %s, %s, open for %s)",
				b.PID, b.Waits.Round(time.Second), b.By, who, b.Role, b.State, b.Age.Round(time.Second))
		}
	}
	return nil
}

func relaying(f *Facts, limits *Limits) *Verdict {
	s := &f.Status
	quiet := f.Rates.Now.Sub(f.Rates.AckedAt)
	switch {
	case s.Leader == "":
		return verdict(RelayDown, "outbox relay --stream "+f.Name, "no relay runs; %d events pending, the oldest for %s", s.Pending, s.Lag.Round(time.Second))
	case s.Lag <= limits.Lag:
		return nil
	case f.Rates.AckedAt.IsZero() || quiet > limits.Quiet:
		return verdict(Stuck, "the log of "+s.Leader, "%s leads; %d events pending, the oldest for %s; position %d is not acknowledged", s.Leader, s.Pending, s.Lag.Round(time.Second), s.Acked+1)
	case f.Rates.Out >= f.Rates.In:
		return verdict(Catching, "outbox top", "%d events pending, the oldest for %s; %.0f/s out, %.0f/s in", s.Pending, s.Lag.Round(time.Second), f.Rates.Out, f.Rates.In)
	}
	return verdict(TooSlow, "outbox top", "%d events pending, the oldest for %s; %.0f/s out, %.0f/s in", s.Pending, s.Lag.Round(time.Second), f.Rates.Out, f.Rates.In)
}

func consumers(f *Facts, limits *Limits) *Verdict {
	for i := range f.Consumers {
		c := &f.Consumers[i]
		if c.Pending+uint64(c.AckPending) == 0 {
			continue
		}
		idle := f.Now.Sub(c.Oldest) // before that message it may have had nothing to do
		if c.LastAck.After(c.Oldest) {
			idle = f.Now.Sub(c.LastAck)
		}
		switch {
		case c.PausedUntil != nil:
			return verdict(ConsumerStuck, "outbox resume --consumer "+c.Name, "consumer %s is paused; %d messages pending", c.Name, c.Pending)
		case idle <= limits.Quiet+delay(c.Name):
		case c.Waiting == 0 && c.AckPending == 0:
			return verdict(ConsumerStuck, "outbox invalidate --rules …", "no process reads from consumer %s; %d messages pending", c.Name, c.Pending)
		default:
			return verdict(ConsumerStuck, "the log of the program that reads it", "consumer %s has acknowledged nothing for %s; %d messages pending", c.Name, idle.Round(time.Second), c.Pending+uint64(c.AckPending))
		}
	}
	return nil
}

// delay returns how long a consumer of an invalidator holds messages by design. Its name ends with that time.
func delay(name string) time.Duration {
	d, err := time.ParseDuration(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return 0
	}
	return d
}

func decisions(f *Facts, _ *Limits) *Verdict {
	if n := int(f.Status.Parked) + f.Dead; n > 0 {
		return verdict(Decision, "outbox dead list", "%d events wait for a decision (%d parked, %d dead letters)", n, f.Status.Parked, f.Dead)
	}
	return nil
}
