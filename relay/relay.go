package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// What a relay does when its stream was deleted and made again, or when messages were removed from it.
const (
	Republish = "republish" // everything that the table still has
	Accept    = "accept"    // leave it so; not when it was made again
	Halt      = "halt"      // stop with ErrRecreated or ErrRemoved
)

// What a relay does with an event that the stream refuses for ever.
const (
	Park = "park" // set it aside with the reason, go on
	// Halt stops with ErrRefused.
)

// Config of a Relay. The zero value of a field means its default.
type Config struct {
	Schema   string   // of the outbox. Defaults to outbox.DefaultSchema
	Stream   string   // name of the stream. Required
	Subjects []string // that the stream must cover. Required where the stream has to be made; defaults to what it has
	Name     string   // of this relay, in status and beside what it plans. Defaults to host name and pid

	// Shared turns the chain off, for a stream that others write to as well: events carry message ids only, so
	// each is stored at least once, and once within the stream's duplicate window. Defaults to false.
	Shared bool

	// Replicas and MaxAge of the stream when it has to be made. Default to 1 and no limit.
	Replicas int
	MaxAge   time.Duration
	// NoCreate refuses to make a missing stream.
	NoCreate bool

	OnRecreate string // Republish or Halt. Defaults to Republish
	// OnRemoved is for messages that are gone though no limit of the stream explains it: purged, deleted, or damaged
	// in the server's files. Republish, which gives them a place at the end, Accept or Halt. Defaults to Republish.
	OnRemoved string
	OnRefuse  string // Park or Halt. Defaults to Park

	BatchEvents  int           // events per batch, at most. Defaults to 4096
	BatchBytes   int           // bytes of payload per batch, about. Defaults to 8 MiB
	WindowEvents int           // published and not acknowledged, at most. Defaults to 8192, at most 10000 (the server's limit)
	WindowBytes  int           // the same in bytes of payload, about. Defaults to 16 MiB
	AckWait      time.Duration // without an ack for so long the outcome is unknown, and is read. Defaults to 5 s
	PollMin      time.Duration // between looks while awake, growing to PollMax. Defaults to 1 ms
	PollMax      time.Duration // Defaults to 50 ms
	SleepPoll    time.Duration // between looks while asleep, a net below the wake-ups. Defaults to 2 s, jittered
	StandbyPoll  time.Duration // between tries for the leader lock. Defaults to 300 ms, jittered
	ReceiptEvery time.Duration // Defaults to 1 s
	// ReconcileEvery is how often the stream's state is compared with what it acknowledged. Defaults to 5 s.
	ReconcileEvery time.Duration
	// VerifyEvents is how many of the last messages are read again, headers only and in the background, when the
	// stream is served by another process than before. Defaults to 200,000; -1 for none.
	VerifyEvents int
	// Retention is how long events are kept after the stream acknowledged them, and at least as long as one of a partition
	// is not done with. Defaults to table.DefaultRetention; -1 for ever.
	Retention  time.Duration
	HouseEvery time.Duration // between looks after the partitions, made ahead and dropped; a twelfth as often while nothing comes. Defaults to 5 s
	Grace      time.Duration // to finish what is in flight when ctx ends. Defaults to 10 s

	Logger *slog.Logger // Defaults to one that discards
}

// Errors that end Run: going on needs a person.
var (
	// ErrMoved means that the outbox was restored from another cluster: a copy must not publish. See `outbox adopt`.
	ErrMoved = table.ErrMoved
	// ErrPooler means that the pool reaches PostgreSQL through a pooler in transaction mode, which a session cannot pass.
	ErrPooler = table.ErrPooler
	// ErrStream says that the stream cannot serve this relay as it is configured.
	ErrStream = errors.New("stream does not fit")
	// ErrRecreated says that the stream was deleted and made again, and OnRecreate is Halt.
	ErrRecreated = errors.New("stream was recreated")
	// ErrRemoved says that messages were removed from the stream, and OnRemoved is Halt.
	ErrRemoved = errors.New("messages were removed from the stream")
	// ErrRefused says that the stream refuses an event for ever, and OnRefuse is Halt.
	ErrRefused = errors.New("event refused")
)

// Relay moves the events of one outbox to one stream. Any number may run; one leads.
type Relay struct {
	cfg   Config
	table *table.Table
	pool  *pgxpool.Pool
	nc    *nats.Conn
	log   *slog.Logger
	stats counters

	// Of the goroutine in Run, and of the reconciler that it waits for.
	lostFrom, lostTo int64   // positions: the loss at the end of the stream that was counted last
	removed          removed // what the stream had lost when it was last healed
	suspects         []span  // sequences to look at when it is healed next
	verified         string  // by which server all could be read
	// Sequences up to which everything was planned since strays were found, and up to which they were dealt with.
	replanned, kept uint64
}

// New checks the configuration; it connects nothing. pool must reach PostgreSQL itself, not a transaction pooler:
// the relay opens one more connection beside it, with the same settings, for its session. nc should be made with
// nats.ReconnectBufSize(-1) and nats.MaxReconnects(-1).
func New(pool *pgxpool.Pool, nc *nats.Conn, cfg Config) (*Relay, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	t, err := table.In(cfg.Schema)
	if err != nil {
		return nil, fmt.Errorf("new relay: %w", err)
	}
	return &Relay{cfg: cfg, table: t, pool: pool, nc: nc, log: cfg.Logger}, nil
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
	def(&c.Schema, outbox.DefaultSchema)
	def(&c.Replicas, 1)
	def(&c.OnRecreate, Republish)
	def(&c.OnRemoved, Republish)
	def(&c.OnRefuse, Park)
	def(&c.BatchEvents, 4096)
	def(&c.BatchBytes, 8<<20)
	def(&c.WindowEvents, 8192)
	def(&c.WindowBytes, 16<<20)
	def(&c.AckWait, 5*time.Second)
	def(&c.PollMin, time.Millisecond)
	def(&c.PollMax, 50*time.Millisecond)
	def(&c.SleepPoll, 2*time.Second)
	def(&c.StandbyPoll, 300*time.Millisecond)
	def(&c.ReceiptEvery, time.Second)
	def(&c.ReconcileEvery, 5*time.Second)
	def(&c.VerifyEvents, 200_000)
	def(&c.Grace, 10*time.Second)
	def(&c.Retention, table.DefaultRetention)
	def(&c.HouseEvery, houseEvery)
	switch {
	case !validStream(c.Stream):
		return fmt.Errorf("stream name %q: want 1 to 255 characters without dots, wildcards, slashes or white space", c.Stream)
	case c.OnRecreate != Republish && c.OnRecreate != Halt:
		return fmt.Errorf("on recreate %q: want %s or %s", c.OnRecreate, Republish, Halt)
	case c.OnRemoved != Republish && c.OnRemoved != Accept && c.OnRemoved != Halt:
		return fmt.Errorf("on removed %q: want %s, %s or %s", c.OnRemoved, Republish, Accept, Halt)
	case c.OnRefuse != Park && c.OnRefuse != Halt:
		return fmt.Errorf("on refuse %q: want %s or %s", c.OnRefuse, Park, Halt)
	case c.Replicas < 1 || c.Replicas > 5:
		return fmt.Errorf("%d replicas: want 1 to 5", c.Replicas)
	case c.BatchEvents < 1 || c.BatchEvents > 100_000:
		return fmt.Errorf("batch of %d events: want 1 to 100000", c.BatchEvents)
	case c.WindowEvents < 1 || c.WindowEvents > 10_000:
		return fmt.Errorf("window of %d events: want 1 to 10000, what a server takes in", c.WindowEvents)
	case c.BatchBytes < 1 || c.WindowBytes < 1:
		return fmt.Errorf("batch of %d and window of %d bytes: want at least 1", c.BatchBytes, c.WindowBytes)
	case c.PollMin < 0 || c.PollMax < c.PollMin:
		return fmt.Errorf("poll from %v to %v: want a range", c.PollMin, c.PollMax)
	case c.SleepPoll > longestRest || c.StandbyPoll > longestRest:
		return fmt.Errorf("sleep poll %v, standby poll %v: want at most %v, PostgreSQL ends sessions that do nothing for %v", c.SleepPoll, c.StandbyPoll, longestRest, table.SessionIdle)
	case c.MaxAge < 0 || c.AckWait < 0 || c.SleepPoll < 0 || c.StandbyPoll < 0 || c.ReceiptEvery < 0 || c.ReconcileEvery < 0 || c.HouseEvery < 0 || c.Grace < 0:
		return errors.New("a duration is negative")
	}
	return nil
}

// longestRest is how long the session is left alone at most.
const longestRest = table.SessionIdle / 2

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
