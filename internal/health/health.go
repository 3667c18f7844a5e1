// Package health derives one verdict from the state of the outbox, the stream and its consumers, for a person on
// call: the most severe problem, and the command to run next.
package health

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Verdicts, most severe first. Assess returns the first that holds.
const (
	Paused        = "paused"           // outbox pause paused the relay
	BrokerDown    = "broker down"      // NATS does not answer
	NoStream      = "no stream"        // the stream does not exist
	Recreated     = "stream recreated" // and the relay has published nothing to it
	LostData      = "stream lost data" // the stream ends before the last sequence that it acknowledged
	Blocked       = "database blocked" // a relay waits for a lock of another session
	RelayDown     = "relay down"       // no relay leads
	Stuck         = "relay stuck"      // a relay leads, events are pending, and the stream acknowledges nothing
	TooSlow       = "relay too slow"   // more events are committed than published
	Catching      = "catching up"      // more events are published than committed
	ConsumerStuck = "consumer stuck"   // a consumer with pending messages acknowledges nothing
	Decision      = "decision needed"  // there are dead events
	Healthy       = "healthy"
)

// Consumer is the state of a consumer in NATS.
type Consumer struct {
	Name        string
	Pending     uint64 // messages not yet delivered
	AckPending  int    // messages delivered and not yet acknowledged
	Redelivered int
	Waiting     int        // pulls that wait for messages; 0 if no process reads
	PausedUntil *time.Time // nil: not paused
	Floor       uint64     // sequence up to which every message is acknowledged
	Delivered   uint64     // last delivered sequence
	LastAck     time.Time  // zero: never
	Oldest      time.Time  // when the first unacknowledged message was stored; zero: none, or unknown
}

// Stream is the state of the stream in NATS.
type Stream struct {
	Created time.Time
	Last    uint64
}

// Facts are the input of a verdict.
type Facts struct {
	Status    table.Status
	Rates     table.Rates
	Paused    string // description of the pause of the relay: "paused since …"; empty: not paused
	Broker    error  // why NATS does not answer; then Stream and Consumers are empty
	Stream    *Stream
	Name      string // of the stream
	Consumers []Consumer
	Dead      int // dead letters without a decision
	Now       time.Time
}

// Limits bound what counts as healthy. The zero value of a field means its default.
type Limits struct {
	Lag   time.Duration // age of the oldest event that the stream has not acknowledged. Defaults to 10 s
	Quiet time.Duration // time without an ack of the stream, or of a consumer with pending messages. Defaults to 30 s
}

func (l *Limits) setDefaults() {
	if l.Lag == 0 {
		l.Lag = 10 * time.Second
	}
	if l.Quiet == 0 {
		l.Quiet = 30 * time.Second
	}
}

// Verdict is a state, its explanation for a person, and the command to run next.
type Verdict struct {
	State  string `json:"state"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

// Assess returns the verdict on facts.
func Assess(f *Facts, limits Limits) Verdict {
	limits.setDefaults()
	for _, assess := range []func(*Facts, *Limits) *Verdict{paused, broker, database, relaying, consumers, decisions} {
		if v := assess(f, &limits); v != nil {
			return *v
		}
	}
	return Verdict{State: Healthy, Detail: "every committed event is published, and every consumer is up to date"}
}

func verdict(state, next, format string, args ...any) *Verdict {
	return &Verdict{State: state, Detail: fmt.Sprintf(format, args...), Next: next}
}

func paused(f *Facts, _ *Limits) *Verdict {
	if f.Paused == "" {
		return nil
	}
	return verdict(Paused, "outbox resume --relay", "the relay is %s; %d events are pending", f.Paused, f.Status.Pending)
}

func broker(f *Facts, _ *Limits) *Verdict {
	switch {
	case f.Broker != nil:
		return verdict(BrokerDown, "outbox doctor --skip postgres,redis", "NATS does not answer, %d events are pending in the table: %v", f.Status.Pending, f.Broker)
	case f.Stream == nil && f.Status.Leader == "" && f.Status.Pending == 0:
		return verdict(NoStream, "outbox relay --stream "+f.Name+" --subjects …", "stream %s does not exist yet, and no relay runs", f.Name)
	case f.Stream == nil:
		return verdict(NoStream, "outbox doctor", "stream %s does not exist, %d events are pending", f.Name, f.Status.Pending)
	case !f.Rates.StreamCreated.IsZero() && f.Rates.StreamCreated.UnixMicro() != f.Stream.Created.UnixMicro():
		return verdict(Recreated, "outbox audit", "stream %s was recreated at %s; the relay has not published anything to it yet", f.Name, f.Stream.Created.Format(time.RFC3339))
	case f.Stream.Last < f.Status.Sequence:
		return verdict(LostData, "outbox audit", "stream %s ends at sequence %d but has acknowledged %d; the relay publishes the lost events again", f.Name, f.Stream.Last, f.Status.Sequence)
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
		return verdict(RelayDown, "outbox relay --stream "+f.Name, "no relay runs; %d events are pending, the oldest for %s", s.Pending, s.Lag.Round(time.Second))
	case s.Lag <= limits.Lag:
		return nil
	case f.Rates.AckedAt.IsZero() || quiet > limits.Quiet:
		return verdict(Stuck, "read the log of "+s.Leader, "%s leads, %d events are pending, the oldest for %s, and the stream does not acknowledge position %d", s.Leader, s.Pending, s.Lag.Round(time.Second), s.Acked+1)
	case f.Rates.Out >= f.Rates.In:
		return verdict(Catching, "outbox top", "%d events are pending, the oldest for %s; %.0f/s published, %.0f/s committed", s.Pending, s.Lag.Round(time.Second), f.Rates.Out, f.Rates.In)
	}
	return verdict(TooSlow, "outbox top", "%d events are pending, the oldest for %s; %.0f/s published, %.0f/s committed", s.Pending, s.Lag.Round(time.Second), f.Rates.Out, f.Rates.In)
}

func consumers(f *Facts, limits *Limits) *Verdict {
	for i := range f.Consumers {
		c := &f.Consumers[i]
		if c.Pending+uint64(c.AckPending) == 0 {
			continue
		}
		idle := f.Now.Sub(c.Oldest) // since then: it may have had no messages before
		if c.LastAck.After(c.Oldest) {
			idle = f.Now.Sub(c.LastAck)
		}
		switch {
		case c.PausedUntil != nil:
			return verdict(ConsumerStuck, "outbox resume --consumer "+c.Name, "consumer %s is paused, %d messages are pending", c.Name, c.Pending)
		case idle <= limits.Quiet+delay(c.Name):
		case c.Waiting == 0 && c.AckPending == 0:
			return verdict(ConsumerStuck, "outbox invalidate --rules …", "no process reads from consumer %s, %d messages are pending", c.Name, c.Pending)
		default:
			return verdict(ConsumerStuck, "read the log of the process that reads from it", "consumer %s has acknowledged nothing for %s, %d messages are pending", c.Name, idle.Round(time.Second), c.Pending+uint64(c.AckPending))
		}
	}
	return nil
}

// delay is the time for which a consumer of an invalidator holds messages by design. The end of its name is that time.
func delay(name string) time.Duration {
	d, err := time.ParseDuration(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return 0
	}
	return d
}

func decisions(f *Facts, _ *Limits) *Verdict {
	if n := int(f.Status.Parked) + f.Dead; n > 0 {
		return verdict(Decision, "outbox dead list", "%d dead events (%d parked, %d dead letters); all others are delivered", n, f.Status.Parked, f.Dead)
	}
	return nil
}
