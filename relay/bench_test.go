package relay_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// BenchmarkDrain drains a backlog of 200,000 events of 200 bytes, and in the same run, before and after, publishes as
// many messages with the same ids, payload and window to a stream like it by plain async publish: the floor. PostgreSQL
// (fsync on), the broker, the relay and the floor share the machine, so the ratio is what counts.
func BenchmarkDrain(b *testing.B) {
	const events, size = 200_000, 200
	g := &rig{t: b, natsURL: devtest.NATS(b).URL(), nc: devtest.Conn(b), stream: devtest.Stream(b)}
	g.openTableOn(devtest.OwnPostgres(b, devstack.PostgresConfig{Fsync: true}))
	var floor, ours float64
	var floorCPU, oursCPU time.Duration // of this process: broker and client, or broker and relay
	for b.Loop() {
		_, err := g.pool.Exec(b.Context(), g.table.SQL(`INSERT INTO outbox.event (subject, key, payload)
			SELECT $1 || '.' || (g % 1000), (g % 1000)::text, convert_to(repeat('x', $3::int), 'UTF8') FROM generate_series(1, $2::int) g`), g.stream, events, size)
		if err != nil {
			b.Fatal(err)
		}
		// What autovacuum and the checkpointer do to a backlog that waits, so that they do not do it meanwhile.
		if _, err := g.pool.Exec(b.Context(), g.table.SQL("VACUUM ANALYZE outbox.event")); err != nil {
			b.Fatal(err)
		}
		if _, err := g.pool.Exec(b.Context(), "CHECKPOINT"); err != nil {
			b.Fatal(err)
		}
		cpu := processCPU()
		before := g.publishAsync(events, size)
		floorCPU += processCPU() - cpu
		cpu = processCPU()
		start := time.Now()
		cfg := g.config()
		cfg.Logger = nil
		run := g.start(cfg)
		want := run.Stats().Published + events
		devtest.Eventually(b, 60*time.Second, "the backlog drained", func() error {
			return ok(run.Stats().Published == want)
		})
		ours += float64(events) / time.Since(start).Seconds()
		oursCPU += processCPU() - cpu
		if err := run.stop(); err != nil {
			b.Fatal(err)
		}
		floor += (before + g.publishAsync(events, size)) / 2
	}
	n := float64(b.N)
	b.ReportMetric(floor/n, "floor-events/s")
	b.ReportMetric(ours/n, "drain-events/s")
	b.ReportMetric(ours/floor, "drain/floor")
	b.ReportMetric(float64(floorCPU.Nanoseconds())/n/events, "floor-cpu-ns/event")
	b.ReportMetric(float64(oursCPU.Nanoseconds())/n/events, "drain-cpu-ns/event")
	b.ReportMetric(0, "ns/op")
}

// publishAsync is the floor, in messages per second.
func (g *rig) publishAsync(n, size int) float64 {
	g.t.Helper()
	js, err := jetstream.New(g.connect(), jetstream.WithPublishAsyncMaxPending(8192))
	if err != nil {
		g.t.Fatal(err)
	}
	name := fmt.Sprintf("%s_FLOOR", g.stream)
	_, err = js.CreateStream(g.t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.FileStorage})
	if err != nil {
		g.t.Fatal(err)
	}
	ids := make([]string, n)
	for i := range ids {
		ids[i] = uuid.NewString()
	}
	payload := make([]byte, size)
	start := time.Now()
	for i := range n {
		m := &nats.Msg{Subject: fmt.Sprintf("%s.%d", name, i%1000), Data: payload}
		if _, err := js.PublishMsgAsync(m, jetstream.WithMsgID(ids[i]), jetstream.WithRetryAttempts(0), jetstream.WithStallWait(30*time.Second)); err != nil {
			g.t.Fatal(err)
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(60 * time.Second):
		g.t.Fatal("the floor did not come to its end")
	}
	rate := float64(n) / time.Since(start).Seconds()
	if err := js.DeleteStream(g.t.Context(), name); err != nil {
		g.t.Fatal(err)
	}
	return rate
}

// processCPU is what the process has used up of the processors, in user and kernel mode.
func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // it has no error but a bad argument
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
