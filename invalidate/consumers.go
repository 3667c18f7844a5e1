package invalidate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// familyKey marks, in the JetStream metadata, every consumer that an invalidator created. Its value is Config.Durable.
const familyKey = "outbox-invalidator"

// useRules creates the consumers that rules require: one that deletes at once, one for each echo delay, and the
// staleness checks. Each of them receives all events. So a rule that later gets an echo delay which already has a
// consumer also gets its echo for recent events, because that consumer has yet to process them.
func (v *Invalidator) useRules(set *rules.Set) {
	v.cfg.Rules = set
	now := v.newConsumer(v.cfg.Durable, 0, set, v.countersOf(v.cfg.Durable, 0))
	now.dead = &deadLetters{js: v.js, cfg: &v.cfg, durable: now.durable, log: now.log}
	if v.failover.window > 0 {
		now.metadata = v.failover.metadata
	}
	v.consumers = []*consumer{now}
	for _, delay := range set.Delays(v.cfg.Echo) {
		durable := v.cfg.durable("echo-" + compact(delay))
		c := v.newConsumer(durable, delay, set.Echo(delay, v.cfg.Echo), v.countersOf(durable, delay))
		c.batch.readVersions = true
		c.startAt = v.fromRecentPast(delay)
		v.consumers = append(v.consumers, c)
	}
	v.useStalenessChecks(set)
}

func (v *Invalidator) newConsumer(durable string, delay time.Duration, set *rules.Set, counted *counters) *consumer {
	c := &consumer{
		js: v.js, rdb: v.rdb, cfg: &v.cfg, clock: &v.clock, log: v.log.With("consumer", durable), counters: counted,
		durable: durable, delay: delay, startAt: fromFirst, resolver: set.NewResolver(),
		pacer: newPacer(v.cfg.TagRate), slowest: v.cfg.slowestReader(), gate: v.cfg.EchoGate, history: v.historyRecorder(set),
	}
	c.process = c.invalidate
	c.tags = newTagQueue(c)
	return c
}

// countersOf returns the counters of a durable consumer. They continue across reloads of the rules.
func (v *Invalidator) countersOf(durable string, delay time.Duration) *counters {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.counters {
		if s.snapshot().Consumer == durable {
			return s
		}
	}
	s := &counters{now: ConsumerStats{Consumer: durable, Delay: delay}}
	v.counters = append(v.counters, s)
	slices.SortFunc(v.counters, func(a, b *counters) int { return cmp.Compare(a.snapshot().Delay, b.snapshot().Delay) })
	return s
}

// durable returns the name of another consumer of the same family: invalidate-echo-5s for invalidate-now.
func (c *Config) durable(role string) string {
	return strings.TrimSuffix(c.Durable, "-now") + "-" + role
}

// compact formats a duration without dots, which consumer names must not contain, and without zero units: 5s, 1m,
// 1m30s, 1500ms.
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

// Consumers returns the sorted names of the consumers of a stream that any invalidator created, whatever Config.Durable
// it had.
func Consumers(ctx context.Context, js jetstream.JetStream, stream string) ([]string, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	var names []string
	list := s.ListConsumers(ctx)
	for info := range list.Info() {
		if info.Config.Metadata[familyKey] != "" {
			names = append(names, info.Name)
		}
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers of %s: %w", stream, err)
	}
	slices.Sort(names)
	return names, nil
}
