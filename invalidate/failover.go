package invalidate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
)

const (
	identityEvery = time.Second     // how often Redis is asked who it is
	redisMark     = "outbox-redis"  // in the metadata of the consumer: who Redis was when it was declared
	replayLook    = time.Second / 5 // how often a replay is asked whether it is done
)

// A failover watches who Redis is. When a replica is promoted that did not have the last deletions, or an older copy of
// the data is loaded, deleted keys are there again, and nobody says so. Then the server that answers is another process
// (run_id), or its data has another history (master_replid). So when one of them changes, what was worked off in the
// window before is worked off again: by a lane of its own, which begins where the slowest of the others stood then. Its
// consumer exists from then until it is done, so that whoever dies in between, the next one goes on.
//
// Deletions that were made while nobody ran are none of its business; those made just before the last one stopped are:
// the consumer that deletes at once says who Redis was when it was declared, and when it last acknowledged something.
//
// A master without replicas takes a new master_replid after an hour. That replays a window for nothing, which is harmless.
type failover struct {
	v      *Invalidator
	window time.Duration

	stood []standing // belongs to the goroutine in run: where the lanes stood, at most a window and one look ago, oldest first
	told  bool       // the same; said that Redis does not tell who it is

	mu     sync.Mutex
	marked bool   // mark has run: not before that is it sure what to compare with
	asked  bool   // since mark has run, whether there is a replay to go on with
	known  string // who Redis was when all that was worked off so far was deleted there; "": not seen yet
	times  int64
	events int64
}

// A standing is what was surely worked off by all lanes at a time: everything up to a sequence.
type standing struct {
	at    time.Time
	floor uint64
}

func (f *failover) count() (times, events int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.times, f.events
}

// run looks until ctx ends, and first goes on with a replay that somebody died in.
func (f *failover) run(ctx, graceful context.Context) {
	for ctx.Err() == nil {
		err := f.look(ctx, graceful)
		if redis.HasErrorPrefix(err, "NOPERM") && !f.told { // the lanes tell of every outage
			f.v.log.Warn("cannot see whether redis fails over: allow the user +info, or turn replays off", "err", err)
			f.told = true
		}
		_ = wait(ctx, identityEvery)
	}
}

// look compares who Redis is with who it was, and replays if that is another.
func (f *failover) look(ctx, graceful context.Context) error {
	if !f.ready() {
		return nil
	}
	began := time.Now()
	floor, replaying, err := f.floors(ctx)
	if err != nil || replaying {
		if replaying {
			if err = f.replay(ctx, graceful); err != nil {
				f.ask()
			}
		}
		return err
	}
	is, err := identity(ctx, f.v.rdb)
	if err != nil {
		return err
	}
	was := f.meet(is)
	if was == is {
		f.note(standing{began, floor})
		return nil
	}
	f.v.log.Warn("redis is another server, or has its data from elsewhere: what was deleted lately may be there again, deleting it again", "was", was, "is", is)
	for _, s := range f.starts() {
		if err := f.begin(ctx, s); err != nil {
			return err
		}
		if err := f.replay(ctx, graceful); err != nil {
			return err
		}
	}
	f.mu.Lock()
	f.known = is
	f.times++
	f.mu.Unlock()
	return nil
}

// ask has the next look find out whether there is a replay to go on with.
func (f *failover) ask() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = false
}

func (f *failover) ready() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.marked
}

// meet returns who Redis was; who it is if nobody knew.
func (f *failover) meet(is string) (was string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == "" {
		f.known = is
	}
	return f.known
}

// note remembers where the lanes stand, and forgets what lies more than a window back but for the last of it.
func (f *failover) note(s standing) {
	f.stood = append(f.stood, s)
	for len(f.stood) > 1 && f.stood[1].at.Before(s.at.Add(-f.window)) {
		f.stood = f.stood[1:]
	}
}

// starts says where a replay has to begin: where the lanes stood a window before Redis was last seen as it was. If we do
// not look on for so long yet, what came into the stream in that time counts too.
func (f *failover) starts() (list []start) {
	seen := time.Now()
	if n := len(f.stood); n > 0 {
		seen = f.stood[n-1].at
		list = append(list, start{seq: f.stood[0].floor + 1})
		if !f.stood[0].at.After(seen.Add(-f.window)) {
			return list
		}
	}
	return append(list, start{at: seen.Add(-f.window - f.v.lanes[0].slowest)})
}

// floors returns up to where all lanes have worked everything off, and whether there is a replay to go on with.
func (f *failover) floors(ctx context.Context) (floor uint64, replaying bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	floor = ^uint64(0)
	for _, l := range f.v.lanes {
		cons, err := f.v.js.Consumer(ctx, f.v.cfg.Stream, l.durable)
		if err != nil {
			return 0, false, fmt.Errorf("look up consumer: %w", err)
		}
		floor = min(floor, cons.CachedInfo().AckFloor.Stream)
	}
	f.mu.Lock()
	asked := f.asked
	f.asked = true
	f.mu.Unlock()
	if asked {
		return floor, false, nil
	}
	_, err = f.v.js.Consumer(ctx, f.v.cfg.Stream, f.durable())
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		f.ask()
		return 0, false, fmt.Errorf("look up replay: %w", err)
	}
	return floor, err == nil, nil
}

func (f *failover) durable() string { return f.v.cfg.durable("replay") }

// begin makes the consumer of a replay, unless there is one: then that began earlier, and what it has left comes first.
func (f *failover) begin(ctx context.Context, s start) error {
	l := f.lane()
	l.begin = func(context.Context) (start, error) { return s, nil }
	if _, err := l.declare(ctx); err != nil {
		return fmt.Errorf("begin replay: %w", err)
	}
	return nil
}

func (f *failover) lane() *lane {
	return f.v.newLane(f.durable(), 0, f.v.cfg.Rules, &stats{now: Lane{Consumer: f.durable()}})
}

// replay works off what its consumer has, up to where the stream ends now, and then deletes the consumer. It is done,
// too, when another invalidator has done that.
func (f *failover) replay(ctx, graceful context.Context) error {
	stream, err := f.v.js.Stream(ctx, f.v.cfg.Stream)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	until := stream.CachedInfo().State.LastSeq
	l := f.lane()
	l.known = true // so that it is not made again when another one deletes it
	l.begin = func(context.Context) (start, error) { return start{}, errReplayed }
	work, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan error, 1)
	go func() { ended <- l.run(work, graceful) }()
	for work.Err() == nil {
		done, err := l.reached(work, until)
		if done || errors.Is(err, jetstream.ErrConsumerNotFound) {
			cancel(errReplayed)
		}
		_ = wait(work, replayLook)
	}
	if err := <-ended; err != nil && !errors.Is(err, errReplayed) {
		return fmt.Errorf("replay: %w", err)
	}
	events := l.stats.snapshot().Events
	f.mu.Lock()
	f.events += events
	f.mu.Unlock()
	if !errors.Is(context.Cause(work), errReplayed) {
		return context.Cause(work) // somebody else goes on
	}
	err = f.v.js.DeleteConsumer(ctx, f.v.cfg.Stream, f.durable())
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("end replay: %w", err)
	}
	f.v.log.Info("deleted again what may have come back", "n", events)
	return nil
}

// errReplayed ends a replay that is done.
var errReplayed = errors.New("replay is done")

// reached says whether the lane has worked off everything up to a sequence.
func (l *lane) reached(ctx context.Context, until uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	cons, err := l.js.Consumer(ctx, l.cfg.Stream, l.durable)
	if err != nil {
		return false, err
	}
	info := cons.CachedInfo()
	return info.AckFloor.Stream >= until || info.NumPending == 0 && info.NumAckPending == 0, nil
}

// mark compares, when the consumer that deletes at once is declared, who Redis is with who it was when that was last
// done. If it is another, a replay begins before the mark is changed.
func (f *failover) mark(ctx context.Context, info *jetstream.ConsumerInfo) (metadata map[string]string, err error) {
	metadata = make(map[string]string)
	var last *time.Time
	if info != nil {
		for name, value := range info.Config.Metadata {
			metadata[name] = value
		}
		last = info.AckFloor.Last
	}
	was := metadata[redisMark]
	is, err := identity(ctx, f.v.rdb)
	if err != nil {
		is = was // look will tell when Redis answers
	}
	if was != "" && is != was && last != nil {
		f.v.log.Warn("redis became another server while nobody ran: what was deleted last may be there again, deleting it again", "was", was, "is", is)
		if err := f.begin(ctx, start{at: last.Add(-f.window - f.v.lanes[0].slowest)}); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	f.known, f.marked, f.asked = is, true, false
	f.mu.Unlock()
	if is != "" {
		metadata[redisMark] = is
	}
	return metadata, nil
}
