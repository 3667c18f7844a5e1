package invalidate

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A stalenessCheck measures whether stale values survive. Some time after an event, called its scale, it reads the keys
// of the event in Redis and decides whether their values can be older than the event. It only reads and never deletes.
// It belongs to the goroutine of its consumer.
type stalenessCheck struct {
	consumer *consumer
	covered  *rules.Resolver // of the rules with a ttl or a version, whose values can be checked
	sample   sample
	history  *keyHistory
	record   *stalenessRecord

	keys     []keyCheck
	resolved []rules.Deletion // of the message that was added last
	warned   bool             // logged that the Redis user may not read keys
}

// A keyCheck is one key of one event.
type keyCheck struct {
	rules.Deletion
	event   *event.Event
	seq     uint64
	bounds  fillBounds
	deleted bool // the event reports that its row was deleted
	state   keyState
}

// run runs the consumer of the check. If it cannot continue, it logs the error and returns nil, so that the consumers
// that delete keys continue.
func (s *stalenessCheck) run(ctx, graceful context.Context) error {
	err := s.consumer.run(ctx, graceful)
	if err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		s.consumer.log.Warn("staleness check stopped, keys are still deleted", "err", err)
		err = nil
	}
	return err
}

// process checks the keys of the sampled messages and acknowledges all messages. It acknowledges poison too, which the
// consumer that deletes at once dead-letters. It fails only if ctx ends first.
func (s *stalenessCheck) process(ctx context.Context, msgs []jetstream.Msg) error {
	defer s.consumer.keepAlive(func() { inProgress(msgs) })()
	clear(s.keys)
	s.keys = s.keys[:0]
	var t Tally
	now := time.Now()
	for _, msg := range msgs {
		if isMarker(msg) || !s.covered.MatchesSubject(msg.Subject()) {
			continue
		}
		t.Events++
		if s.sample.selects(msg) {
			t.Sampled++
			s.add(msg, now)
		}
	}
	for rest := s.keys; len(rest) > 0; {
		part := rest[:min(len(rest), checkPipelineKeys)]
		rest = rest[len(part):]
		if err := s.consumer.untilRedisSucceeds(ctx, func() error { return readKeys(ctx, s.consumer.rdb, part) }); err != nil {
			return err
		}
	}
	for i := range s.keys {
		k := &s.keys[i]
		verdict, violation := k.evaluate()
		t.count(verdict)
		if verdict == missed || verdict == old {
			violation.History = s.history.of(k.Key)
			s.record.addViolation(violation, s.consumer)
		}
		s.warnIfDenied(k)
	}
	s.record.add(t)
	for _, msg := range msgs {
		_ = msg.Ack() // if it is lost, the keys are checked once more
	}
	return nil
}

// add adds the keys of a message whose values can be checked. A poison event may have such keys too, and they were
// deleted.
func (s *stalenessCheck) add(msg jetstream.Msg, now time.Time) {
	ev, _ := parseEvent(msg)
	s.resolved, _ = s.consumer.resolver.Resolve(&ev, s.resolved[:0])
	bounds := s.consumer.fillBounds(&ev, msg, now)
	for i := range s.resolved {
		if d := &s.resolved[i]; !d.Tag && (d.TTL != rules.Span{} || d.Due != "") {
			s.keys = append(s.keys, keyCheck{
				Deletion: *d, event: &ev, seq: sequence(msg.Reply()), bounds: bounds,
				deleted: ev.Headers[event.HeaderOp] == "delete",
			})
		}
	}
}

// warnIfDenied logs once that the Redis user may not read keys.
func (s *stalenessCheck) warnIfDenied(k *keyCheck) {
	if s.warned || !redis.HasErrorPrefix(k.state.ttlErr, "NOPERM") && !redis.HasErrorPrefix(k.state.valueErr, "NOPERM") {
		return
	}
	s.warned = true
	s.consumer.log.Warn("staleness check cannot read keys and counts them as suspect; grant the Redis user +pttl +get +hget",
		"key", k.Key, "err", errors.Join(k.state.ttlErr, k.state.valueErr))
}
