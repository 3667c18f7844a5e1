package invalidate_test

import (
	"context"
	"fmt"
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

// A pair is a master and its replica behind one name, which leads to one of them, as a load balancer does it.
type pair struct {
	r               *rig
	master, replica *devstack.Redis
	leads           atomic.Pointer[devstack.Redis]
}

// newPair has the rig use a pair.
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

// fork makes a replica that has everything so far and will have nothing that follows.
func (p *pair) fork() {
	p.r.t.Helper()
	p.replica = devtest.OwnReplica(p.r.t, p.master)
	fatal(p.r.t, p.replica.Promote(p.r.t.Context()))
}

// failOver kills the master, and the replica takes over.
func (p *pair) failOver() {
	p.r.t.Helper()
	p.leads.Store(p.replica)
	fatal(p.r.t, p.master.Kill())
}

func (r *rig) replaying() invalidate.Config {
	cfg := r.config()
	cfg.ReplayWindow = time.Minute
	return cfg
}

func (r *rig) replayEnded() {
	r.t.Helper()
	devtest.Eventually(r.t, patience, "the replay's consumer is gone", func() error {
		_, err := r.js.Consumer(r.t.Context(), r.stream, "invalidate-replay")
		if err == nil {
			return fmt.Errorf("it is there")
		}
		if err != jetstream.ErrConsumerNotFound {
			return err
		}
		return nil
	})
}

// A replica that is promoted without the last deletions has the keys again: they are deleted again.
func TestFailOverIsReplayed(t *testing.T) {
	t.Parallel()
	const n = 500
	r := newRig(t)
	p := newPair(r)
	r.fill(0, n)
	v, other := r.invalidator(r.replaying()), r.invalidator(r.replaying())
	r.run(v)
	r.run(other)
	r.publish(0, 100)
	r.until(v, "seen who redis is", func(s invalidate.Stats) bool { return s.Events+other.Stats().Events >= 100 })
	p.fork()
	r.publish(100, n)
	r.settled()
	p.failOver()
	if r.left() == 0 {
		t.Error("no key came back")
	}
	r.settled()
	r.replayEnded()
	s := v.Stats()
	if s.FailOvers+other.Stats().FailOvers == 0 {
		t.Error("the fail-over was not seen")
	}
}

// The same while no invalidator runs.
func TestFailOverWhileNobodyRan(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	p := newPair(r)
	r.fill(0, n)
	p.fork()
	stop := r.run(r.invalidator(r.replaying()))
	r.publish(0, n)
	r.settled()
	fatal(t, stop())
	p.failOver()
	same(t, "keys that came back", r.left(), 2*n)
	r.run(r.invalidator(r.replaying()))
	r.settled()
	r.replayEnded()
	marked := r.consumer(durable).Config.Metadata["outbox-redis"]
	contains(t, "mark", marked, infoField(t, r.rdb, "run_id"))
}

// An invalidator that dies in a replay leaves it to the next one.
func TestReplayIsTakenOver(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	r.fill(0, n)
	r.publish(0, n)
	stop := r.run(r.invalidator(r.replaying()))
	r.settled()
	fatal(t, stop())
	r.fill(0, n) // they came back, and somebody had begun
	_, err := r.js.CreateConsumer(t.Context(), r.stream, jetstream.ConsumerConfig{Durable: "invalidate-replay", AckPolicy: jetstream.AckExplicitPolicy})
	fatal(t, err)
	r.run(r.invalidator(r.replaying()))
	r.settled()
	r.replayEnded()
}

// Nothing is replayed when nothing happened.
func TestNoFailOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for range 2 {
		v := r.invalidator(r.replaying())
		stop := r.run(v)
		r.publish(0, 10)
		r.settled()
		fatal(t, stop())
		same(t, "fail-overs, replayed", []int64{v.Stats().FailOvers, v.Stats().Replayed}, []int{0, 0})
	}
}

func infoField(t *testing.T, rdb redis.UniversalClient, name string) string {
	t.Helper()
	info, err := rdb.InfoMap(t.Context(), "server").Result()
	fatal(t, err)
	return info["Server"][name]
}
