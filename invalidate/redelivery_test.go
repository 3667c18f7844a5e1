package invalidate_test

import (
	"context"
	"errors"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// A pair is a master and its replica with one address, which leads to one of them, as a load balancer does it.
type pair struct {
	r               *rig
	master, replica *devstack.Redis
	leads           atomic.Pointer[devstack.Redis]
}

// newPair makes the rig use a pair.
func newPair(r *rig) *pair {
	r.t.Helper()
	p := &pair{r: r, master: devtest.OwnRedis(r.t)}
	p.leads.Store(p.master)
	r.rdb = redis.NewClient(&redis.Options{Dialer: func(ctx context.Context, _, _ string) (net.Conn, error) {
		to, err := url.Parse(p.leads.Load().URL())
		if err != nil {
			return nil, err
		}
		var dialer net.Dialer
		return dialer.DialContext(ctx, "tcp", to.Host)
	}})
	r.t.Cleanup(func() { _ = r.rdb.Close() })
	return p
}

// fork creates a replica that has all data so far and receives nothing afterwards.
func (p *pair) fork() {
	p.r.t.Helper()
	p.replica = devtest.OwnReplica(p.r.t, p.master)
	fatal(p.r.t, p.replica.Promote(p.r.t.Context()))
}

// failOver kills the master and makes the address lead to the replica.
func (p *pair) failOver() {
	p.r.t.Helper()
	p.leads.Store(p.replica)
	fatal(p.r.t, p.master.Kill())
}

func (r *rig) redelivering() invalidate.Config {
	cfg := r.config()
	cfg.RedeliveryWindow = time.Minute
	return cfg
}

func (r *rig) redeliveryEnded() {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "the consumer of the redelivery is deleted", func() error {
		_, err := r.js.Consumer(r.t.Context(), r.stream, "invalidate-redelivery")
		if err == nil {
			return errors.New("it exists")
		}
		if err != jetstream.ErrConsumerNotFound {
			return err
		}
		return nil
	})
}

// A replica that is promoted without the last deletions still has the keys. They are deleted again.
func TestFailOverRepeatsDeletions(t *testing.T) {
	t.Parallel()
	const n = 500
	r := newRig(t)
	p := newPair(r)
	r.fill(0, n)
	v, other := r.invalidator(r.redelivering()), r.invalidator(r.redelivering())
	r.run(v)
	r.run(other)
	r.publish(0, 100)
	r.until(v, "identity of Redis known", func(s invalidate.Stats) bool { return s.Events+other.Stats().Events >= 100 })
	p.fork()
	r.publish(100, n)
	r.settled()
	p.failOver()
	if r.left() == 0 {
		t.Error("the promoted replica has no key; want those deleted after the fork")
	}
	r.settled()
	r.redeliveryEnded()
	s := v.Stats()
	if s.FailOvers+other.Stats().FailOvers == 0 {
		t.Error("the fail-over was not detected")
	}
}

// The same when Redis fails over while no invalidator runs.
func TestFailOverWhileNoInvalidatorRan(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	p := newPair(r)
	r.fill(0, n)
	p.fork()
	stop := r.run(r.invalidator(r.redelivering()))
	r.publish(0, n)
	r.settled()
	fatal(t, stop())
	p.failOver()
	same(t, "keys of the promoted replica", r.left(), 2*n)
	r.run(r.invalidator(r.redelivering()))
	r.settled()
	r.redeliveryEnded()
	marked := r.consumer(durable).Config.Metadata["outbox-redis"]
	contains(t, "stored identity", marked, infoField(t, r.rdb, "run_id"))
}

// An invalidator that dies during a redelivery leaves it to the next one.
func TestRedeliveryIsTakenOver(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	r.fill(0, n)
	r.publish(0, n)
	stop := r.run(r.invalidator(r.redelivering()))
	r.settled()
	fatal(t, stop())
	r.fill(0, n) // a fail-over restored them, and another invalidator had started the redelivery
	_, err := r.js.CreateConsumer(t.Context(), r.stream, jetstream.ConsumerConfig{Durable: "invalidate-redelivery", AckPolicy: jetstream.AckExplicitPolicy})
	fatal(t, err)
	r.run(r.invalidator(r.redelivering()))
	r.settled()
	r.redeliveryEnded()
}

// No event is redelivered without a fail-over.
func TestNoFailOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 {
		v := r.invalidator(r.redelivering())
		stop := r.run(v)
		r.publish(0, 10)
		r.settled()
		fatal(t, stop())
		same(t, "fail-overs, redelivered", []int64{v.Stats().FailOvers, v.Stats().FailOverRedelivered}, []int{0, 0})
	}
}

func infoField(t *testing.T, rdb redis.UniversalClient, name string) string {
	t.Helper()
	info, err := rdb.InfoMap(t.Context(), "server").Result()
	fatal(t, err)
	return info["Server"][name]
}
