// Package health makes one verdict of what the outbox, the stream and its consumers say, for a person on call: what is wrong
// first, and the command that goes on from there.
package health

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Verdicts, gravest first: the first that holds is given.
const (
	Paused        = "paused"      // a person paused the relay
	BrokerDown    = "broker down" // NATS does not answer
	NoStream      = "no stream"   // it does not exist
	Recreated     = "stream made again"
	LostData      = "stream lost data" // it ends before what it acknowledged
	Blocked       = "database blocked" // a relay waits for a lock of another session
	RelayDown     = "relay down"       // nobody leads
	Stuck         = "relay stuck"      // it leads, events wait, and nothing is acknowledged
	TooSlow       = "relay too slow"   // events wait, and more come than go
	Catching      = "catching up"      // events wait, and more go than come
	ConsumerStuck = "consumer stuck"   // it has not acknowledged anything for long
	Decision      = "decision needed"  // events were set aside
	Healthy       = "healthy"
)

// Consumer is what NATS says of one.
type Consumer struct {
	Name        string
	Pending     uint64 // messages not delivered yet
	AckPending  int    // delivered and not acknowledged
	Redelivered int
	Waiting     int        // pulls that wait for messages: somebody is there
	PausedUntil *time.Time // by JetStream; nil: it delivers
	Floor       uint64     // sequence up to which all is acknowledged
	Delivered   uint64     // sequence that was delivered last
	LastAck     time.Time  // zero: never
	Oldest      time.Time  // when the first message that it has not acknowledged was stored; zero: there is none, or it is not known
}

// Stream is what NATS says of it.
type Stream struct {
	Created time.Time
	Last    uint64
}

// Facts are what a verdict is made of.
type Facts struct {
	Status    table.Status
	Pulse     table.Pulse
	Paused    string // how the relay is paused: "paused since …"; empty: it is not
	Broker    error  // why NATS does not answer; then Stream and Consumers say nothing
	Stream    *Stream
	Name      string // of the stream
	Consumers []Consumer
	Dead      int // letters that nobody has decided about
	Now       time.Time
}

// Limits are how much is still healthy. The zero value of a field means its default.
type Limits struct {
	Lag   time.Duration // of the relay: age of the oldest event that is not acknowledged. Defaults to 10 s
	Quiet time.Duration // without an ack of a consumer that has something to do, or of the stream. Defaults to 30 s
}

func (l *Limits) setDefaults() {
	if l.Lag == 0 {
		l.Lag = 10 * time.Second
	}
	if l.Quiet == 0 {
		l.Quiet = 30 * time.Second
	}
}

// Verdict is one line for a person, and the command to run next.
type Verdict struct {
	State  string `json:"state"`
	Detail string `json:"detail"`
	Next   string `json:"next,omitempty"`
}

// Judge gives the verdict.
func Judge(f *Facts, limits Limits) Verdict {
	limits.setDefaults()
	for _, judge := range []func(*Facts, *Limits) *Verdict{paused, broker, database, relaying, consumers, decisions} {
		if v := judge(f, &limits); v != nil {
			return *v
		}
	}
	return Verdict{State: Healthy, Detail: "everything committed is published, and what consumes it is at the end"}
}

func verdict(state, next, format string, args ...any) *Verdict {
	return &Verdict{State: state, Detail: fmt.Sprintf(format, args...), Next: next}
}

func paused(f *Facts, _ *Limits) *Verdict {
	if f.Paused == "" {
		return nil
	}
	return verdict(Paused, "outbox resume --relay", "the relay is %s; %d events wait", f.Paused, f.Status.Pending)
}

func broker(f *Facts, _ *Limits) *Verdict {
	switch {
	case f.Broker != nil:
		return verdict(BrokerDown, "outbox doctor --skip postgres,redis", "NATS does not answer, %d events wait in the table: %v", f.Status.Pending, f.Broker)
	case f.Stream == nil && f.Status.Leader == "" && f.Status.Pending == 0:
		return verdict(NoStream, "outbox relay --stream "+f.Name+" --subjects …", "stream %s does not exist yet, and no relay runs", f.Name)
	case f.Stream == nil:
		return verdict(NoStream, "outbox doctor", "stream %s does not exist, %d events wait", f.Name, f.Status.Pending)
	case !f.Pulse.StreamCreated.IsZero() && f.Pulse.StreamCreated.UnixMicro() != f.Stream.Created.UnixMicro():
		return verdict(Recreated, "outbox audit", "stream %s was made again at %s; the relay has not published anything to it yet", f.Name, f.Stream.Created.Format(time.RFC3339))
	case f.Stream.Last < f.Status.Sequence:
		return verdict(LostData, "outbox audit", "stream %s ends at sequence %d, and has acknowledged %d: the relay publishes the rest again", f.Name, f.Stream.Last, f.Status.Sequence)
	}
	return nil
}

func database(f *Facts, limits *Limits) *Verdict {
	for _, b := range f.Pulse.Blocked {
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
	quiet := f.Pulse.Now.Sub(f.Pulse.AckedAt)
	switch {
	case s.Leader == "":
		return verdict(RelayDown, "outbox relay --stream "+f.Name, "no relay runs; %d events wait, the oldest for %s", s.Pending, s.Lag.Round(time.Second))
	case s.Lag <= limits.Lag:
		return nil
	case f.Pulse.AckedAt.IsZero() || quiet > limits.Quiet:
		return verdict(Stuck, "the log of "+s.Leader, "%s leads, %d events wait, the oldest for %s, and position %d is not acknowledged", s.Leader, s.Pending, s.Lag.Round(time.Second), s.Acked+1)
	case f.Pulse.Out >= f.Pulse.In:
		return verdict(Catching, "outbox top", "%d events wait, the oldest for %s: %.0f/s go, %.0f/s come", s.Pending, s.Lag.Round(time.Second), f.Pulse.Out, f.Pulse.In)
	}
	return verdict(TooSlow, "outbox top", "%d events wait, the oldest for %s: %.0f/s go, %.0f/s come", s.Pending, s.Lag.Round(time.Second), f.Pulse.Out, f.Pulse.In)
}

func consumers(f *Facts, limits *Limits) *Verdict {
	for i := range f.Consumers {
		c := &f.Consumers[i]
		if c.Pending+uint64(c.AckPending) == 0 {
			continue
		}
		idle := f.Now.Sub(c.Oldest) // it may have had nothing to do before
		if c.LastAck.After(c.Oldest) {
			idle = f.Now.Sub(c.LastAck)
		}
		switch {
		case c.PausedUntil != nil:
			return verdict(ConsumerStuck, "outbox resume --consumer "+c.Name, "consumer %s is paused, %d messages wait", c.Name, c.Pending)
		case idle <= limits.Quiet+delay(c.Name):
		case c.Waiting == 0 && c.AckPending == 0:
			return verdict(ConsumerStuck, "outbox invalidate --rules …", "nobody reads from consumer %s, %d messages wait", c.Name, c.Pending)
		default:
			return verdict(ConsumerStuck, "the log of the program that reads it", "consumer %s has not acknowledged anything for %s, %d messages wait", c.Name, idle.Round(time.Second), c.Pending+uint64(c.AckPending))
		}
	}
	return nil
}

// delay is how long a consumer of an invalidator keeps messages in hand by design: its name ends with that.
func delay(name string) time.Duration {
	d, err := time.ParseDuration(name[strings.LastIndexByte(name, '-')+1:])
	if err != nil {
		return 0
	}
	return d
}

func decisions(f *Facts, _ *Limits) *Verdict {
	if n := int(f.Status.Parked) + f.Dead; n > 0 {
		return verdict(Decision, "outbox dead list", "%d events were set aside (%d parked, %d letters), everything else goes on", n, f.Status.Parked, f.Dead)
	}
	return nil
}
