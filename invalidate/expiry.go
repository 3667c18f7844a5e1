package invalidate

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// expired reports whether every value that an event made stale has expired in Redis, so that its key need not be
// deleted. A reader writes such a value at most one echo delay after the event, and Redis keeps it for at most the
// longest TTL of the rule. This shortens a backlog of hours to minutes. The age of the event is a lower bound, computed
// without trusting that the clocks of the server and of this process agree. With an EchoGate no value counts as
// expired, because nothing limits how long after the event a reader of a lagging replica may write it.
func (c *consumer) expired(d *rules.Deletion, msg jetstream.Msg) bool {
	if d.TTL.Max == 0 || c.cfg.EchoGate != nil {
		return false
	}
	now := time.Now()
	age := now.Sub(c.clock.latest(storedAt(msg.Reply()), now))
	return age > d.TTL.Max+c.slowest
}

// slowestReader returns how long a reader may take from its database snapshot to its cache write: the longest echo
// delay, and at least 5 s.
func (c *Config) slowestReader() time.Duration {
	return slices.Max(append(c.Rules.Delays(c.Echo), 5*time.Second))
}
