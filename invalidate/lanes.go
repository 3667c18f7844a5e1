package invalidate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// newLaneSlack is how much earlier than its delay asks for a new lane begins in the stream.
const newLaneSlack = time.Minute

// adopt makes the lanes that rules ask for: one that deletes at once and one for each delay of an echo. All of them are
// delivered the events of all rules: so a rule that comes to ask for an echo gets it for the events of the recent past
// as well, which the lane of that echo still has before it.
func (v *Invalidator) adopt(set *rules.Set) {
	v.cfg.Rules = set
	now := v.newLane(v.cfg.Durable, 0, set, v.statsOf(v.cfg.Durable, 0))
	now.dead = &deadLetters{js: v.js, cfg: &v.cfg, durable: now.durable, log: now.log}
	if v.failover.window > 0 {
		now.mark = v.failover.mark
	}
	v.lanes = []*lane{now}
	for _, delay := range set.Delays(v.cfg.Echo) {
		durable := v.cfg.durable("echo-" + compact(delay))
		l := v.newLane(durable, delay, set.Echo(delay, v.cfg.Echo), v.statsOf(durable, delay))
		l.batch.careful = true
		l.begin = v.recently(delay)
		v.lanes = append(v.lanes, l)
	}
	v.adoptAudits(set)
}

func (v *Invalidator) newLane(durable string, delay time.Duration, set *rules.Set, counted *stats) *lane {
	l := &lane{
		js: v.js, rdb: v.rdb, cfg: &v.cfg, clock: &v.clock, log: v.log.With("consumer", durable), stats: counted,
		durable: durable, delay: delay, begin: everything, resolver: set.NewResolver(),
		pacer: newPacer(v.cfg.TagRate), slowest: v.cfg.slowestReader(), gate: v.cfg.Gate, noter: v.noter(set),
	}
	l.work = l.invalidate
	l.tags = newTagQueue(l)
	return l
}

// statsOf returns the stats of a lane, those of its predecessor if it had one.
func (v *Invalidator) statsOf(durable string, delay time.Duration) *stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.stats {
		if s.snapshot().Consumer == durable {
			return s
		}
	}
	s := &stats{now: Lane{Consumer: durable, Delay: delay}}
	v.stats = append(v.stats, s)
	slices.SortFunc(v.stats, func(a, b *stats) int { return cmp.Compare(a.snapshot().Delay, b.snapshot().Delay) })
	return s
}

// durable names another consumer of the family: invalidate-now, invalidate-echo-5s.
func (c *Config) durable(role string) string {
	return strings.TrimSuffix(c.Durable, "-now") + "-" + role
}

// compact writes a time without dots and without zeros: 5s, 1m, 1m30s, 1500ms.
func compact(d time.Duration) string {
	if d%time.Second != 0 {
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// A start is where a new consumer begins to deliver: at a sequence, else with what came in at a time or later, else with
// the first message.
type start struct {
	seq uint64
	at  time.Time
}

// everything has a new consumer begin with the first message.
func everything(context.Context) (start, error) { return start{}, nil }

// recently has a new consumer begin so much earlier than the present that no event is left out whose echo is still to
// come. If the consumer that deletes at once is far behind, or there is none, it begins with the first message.
func (v *Invalidator) recently(delay time.Duration) func(context.Context) (start, error) {
	return func(ctx context.Context) (start, error) {
		cons, err := v.js.Consumer(ctx, v.cfg.Stream, v.cfg.Durable)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			return start{}, nil
		}
		if err != nil {
			return start{}, fmt.Errorf("look up consumer: %w", err)
		}
		info := cons.CachedInfo()
		if info.AckFloor.Last == nil || info.NumPending > uint64(v.cfg.MaxAckPending) {
			return start{}, nil
		}
		return start{at: info.AckFloor.Last.Add(-delay - newLaneSlack)}, nil
	}
}
