package relay

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// RecreatePolicy is what a relay does when its stream was deleted and created again.
type RecreatePolicy string

// RemovedPolicy is what a relay does when messages were removed from its stream.
type RemovedPolicy string

// RefusedPolicy is what a relay does with an event that the stream will never accept.
type RefusedPolicy string

// The policies. The first of each is the default.
const (
	RecreatedRepublish RecreatePolicy = "republish" // publish every event that the table still has
	RecreatedHalt      RecreatePolicy = "halt"      // Run returns ErrRecreated

	RemovedRepublish RemovedPolicy = "republish" // publish the removed events again, at the end of the stream
	RemovedAccept    RemovedPolicy = "accept"    // leave them removed
	RemovedHalt      RemovedPolicy = "halt"      // Run returns ErrRemoved

	RefusedPark RefusedPolicy = "park" // set the event aside with the reason and continue
	RefusedHalt RefusedPolicy = "halt" // Run returns ErrRefused
)

// DefaultRetention is how long a relay keeps events by default after the stream acknowledged them.
const DefaultRetention = table.DefaultRetention

// Config of a Relay. The zero value of a field means its default.
type Config struct {
	Schema   string   // of the outbox. Defaults to outbox.DefaultSchema
	Stream   string   // name of the stream. Required
	Subjects []string // that the stream must cover. Required if the relay has to create the stream; defaults to the stream's own
	Name     string   // of this relay, in status and in the plan. Defaults to host name and pid

	// Shared turns the chain off, for a stream with other writers: events carry message ids only. The stream then stores
	// each event at least once, and exactly once within its duplicate window. Defaults to false.
	Shared bool

	// Replicas and MaxAge of a stream that the relay creates. Default to 1 and no limit.
	Replicas int
	MaxAge   time.Duration
	// NoCreate makes a missing stream an error instead of creating it.
	NoCreate bool

	OnRecreate RecreatePolicy // Defaults to RecreatedRepublish
	// OnRemoved applies to messages that are missing although no limit of the stream explains it: purged, deleted, or damaged
	// in the server's files. Defaults to RemovedRepublish.
	OnRemoved RemovedPolicy
	OnRefuse  RefusedPolicy // Defaults to RefusedPark

	BatchEvents  int           // events per batch, at most. Defaults to 4096
	BatchBytes   int           // payload bytes per batch, about. Defaults to 8 MiB
	WindowEvents int           // events published and not acknowledged, at most. Defaults to 8192; at most 10000 (the server's limit)
	WindowBytes  int           // the same in payload bytes, about. Defaults to 16 MiB
	AckWait      time.Duration // without an ack for this long, the relay reads the outcome from the stream. Defaults to 5 s
	PollMin      time.Duration // between polls while awake, growing to PollMax. Defaults to 1 ms
	PollMax      time.Duration // Defaults to 50 ms
	SleepPoll    time.Duration // between polls while asleep, in case a wake-up is lost. Defaults to 2 s, jittered
	StandbyPoll  time.Duration // between attempts to take the leader lock. Defaults to 300 ms, jittered
	ReceiptEvery time.Duration // between receipts. Defaults to 1 s
	// ReconcileEvery is how often the relay compares the stream's state with what the stream acknowledged. Defaults to 5 s.
	ReconcileEvery time.Duration
	// VerifyEvents is how many of the last messages the relay reads again, headers only and in the background, when another
	// server process than before serves the stream. Defaults to 200,000; -1 for none.
	VerifyEvents int
	// Retention is how long the relay keeps events after the stream acknowledged them. A partition is dropped as a whole, so
	// its last event decides. Defaults to 7 days; -1 keeps events indefinitely.
	Retention time.Duration
	// MaintainEvery is how often the leader creates partitions ahead and drops old ones; a twelfth as often while the outbox
	// is idle. Defaults to 5 s.
	MaintainEvery time.Duration
	Grace         time.Duration // to finish what is in flight when ctx ends. Defaults to 10 s

	Logger *slog.Logger // Defaults to one that discards
}

func (c *Config) setDefaults() error {
	if c.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "unknown"
		}
		c.Name = fmt.Sprintf("%s-%d", host, os.Getpid())
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Schema = cmp.Or(c.Schema, outbox.DefaultSchema)
	c.Replicas = cmp.Or(c.Replicas, 1)
	c.OnRecreate = cmp.Or(c.OnRecreate, RecreatedRepublish)
	c.OnRemoved = cmp.Or(c.OnRemoved, RemovedRepublish)
	c.OnRefuse = cmp.Or(c.OnRefuse, RefusedPark)
	c.BatchEvents = cmp.Or(c.BatchEvents, 4096)
	c.BatchBytes = cmp.Or(c.BatchBytes, 8<<20)
	c.WindowEvents = cmp.Or(c.WindowEvents, 8192)
	c.WindowBytes = cmp.Or(c.WindowBytes, 16<<20)
	c.AckWait = cmp.Or(c.AckWait, 5*time.Second)
	c.PollMin = cmp.Or(c.PollMin, time.Millisecond)
	c.PollMax = cmp.Or(c.PollMax, 50*time.Millisecond)
	c.SleepPoll = cmp.Or(c.SleepPoll, 2*time.Second)
	c.StandbyPoll = cmp.Or(c.StandbyPoll, 300*time.Millisecond)
	c.ReceiptEvery = cmp.Or(c.ReceiptEvery, time.Second)
	c.ReconcileEvery = cmp.Or(c.ReconcileEvery, 5*time.Second)
	c.VerifyEvents = cmp.Or(c.VerifyEvents, 200_000)
	c.Grace = cmp.Or(c.Grace, 10*time.Second)
	c.Retention = cmp.Or(c.Retention, DefaultRetention)
	c.MaintainEvery = cmp.Or(c.MaintainEvery, maintainEvery)
	switch {
	case !stream.ValidName(c.Stream):
		return fmt.Errorf("stream name %q: want 1 to 255 characters without dots, wildcards, slashes or white space", c.Stream)
	case !slices.Contains([]RecreatePolicy{RecreatedRepublish, RecreatedHalt}, c.OnRecreate):
		return fmt.Errorf("on recreate %q: want %s or %s", c.OnRecreate, RecreatedRepublish, RecreatedHalt)
	case !slices.Contains([]RemovedPolicy{RemovedRepublish, RemovedAccept, RemovedHalt}, c.OnRemoved):
		return fmt.Errorf("on removed %q: want %s, %s or %s", c.OnRemoved, RemovedRepublish, RemovedAccept, RemovedHalt)
	case !slices.Contains([]RefusedPolicy{RefusedPark, RefusedHalt}, c.OnRefuse):
		return fmt.Errorf("on refuse %q: want %s or %s", c.OnRefuse, RefusedPark, RefusedHalt)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("%d replicas: want 1 to 5", c.Replicas)
	case c.BatchEvents < 1 || c.BatchEvents > 100_000:
		return fmt.Errorf("batch of %d events: want 1 to 100000", c.BatchEvents)
	case c.WindowEvents < 1 || c.WindowEvents > 10_000:
		return fmt.Errorf("window of %d events: want 1 to 10000, the server's limit", c.WindowEvents)
	case c.BatchBytes < 1 || c.WindowBytes < 1:
		return fmt.Errorf("batch of %d and window of %d bytes: want at least 1", c.BatchBytes, c.WindowBytes)
	case c.PollMin < 0 || c.PollMax < c.PollMin:
		return fmt.Errorf("poll from %v to %v: want a range", c.PollMin, c.PollMax)
	case c.SleepPoll > maxIdle || c.StandbyPoll > maxIdle:
		return fmt.Errorf("sleep poll %v, standby poll %v: want at most %v, because PostgreSQL ends a session that is idle for %v", c.SleepPoll, c.StandbyPoll, maxIdle, table.SessionIdle)
	case c.MaxAge < 0 || c.AckWait < 0 || c.SleepPoll < 0 || c.StandbyPoll < 0 || c.ReceiptEvery < 0 || c.ReconcileEvery < 0 || c.MaintainEvery < 0 || c.Grace < 0:
		return errors.New("a duration is negative")
	}
	return nil
}

// maxIdle is how long the relay leaves its session idle at most.
const maxIdle = table.SessionIdle / 2
