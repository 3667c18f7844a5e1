package invalidate

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// expired says whether every value that an event made stale has expired, so that nothing has to be deleted: readers write
// such a value at most an echo's delay after the event, and it lives for the rule's longest TTL at most. That is how a
// backlog of hours becomes one of minutes. The age of the event is at least what the clocks of server and ours leave no
// doubt about.
func (l *lane) expired(d *rules.Deletion, msg jetstream.Msg) bool {
	if d.TTL.Max == 0 || l.cfg.Gate != nil { // behind a gate values can be old for longer than a delay
		return false
	}
	now := time.Now()
	age := now.Sub(l.clock.latest(storedAt(msg.Reply()), now))
	return age > d.TTL.Max+l.slowest
}

// slowestReader is how long a reader may take from the database to the cache, as the delays of the echoes say.
func (c *Config) slowestReader() time.Duration {
	return slices.Max(append(c.Rules.Delays(c.Echo), 5*time.Second))
}
