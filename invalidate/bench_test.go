package invalidate_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// BenchmarkConsume drains a backlog from JetStream into UNLINKs of two keys for each event: "ours" is the
// invalidator, "floor" the same calls with nothing around them.
func BenchmarkConsume(b *testing.B) {
	const n = 100_000
	r := newRig(b)
	for i := range n {
		e := outbox.Event{
			Subject: fmt.Sprintf("%s.users.%d.updated", r.stream, i), Key: fmt.Sprint(i), Position: int64(i + 1),
			Payload: []byte(`{"event": "user.updated", "name": "someone", "email": "someone@example.org"}`), CreatedAt: time.Now(),
		}
		r.publishEvent(&e)
	}
	r.published()
	for name, drain := range map[string]func(*testing.B, *rig, int64){"floor": floor, "ours": ours} {
		b.Run(name, func(b *testing.B) {
			began := processTime()
			for b.Loop() {
				drain(b, r, n)
			}
			all := float64(n) * float64(b.N)
			b.ReportMetric(all/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64((processTime()-began).Nanoseconds())/all, "cpu-ns/event") // without Redis, with NATS
		})
	}
}

// processTime is the CPU time of this process: it tells more than the clock on a machine that others use.
func processTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func ours(b *testing.B, r *rig, n int64) {
	cfg := r.config()
	cfg.Durable = "ours-" + uuid.NewString()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var events atomic.Int64
	done := make(chan struct{})
	batches := 0
	defer func() { b.ReportMetric(float64(n)/float64(batches), "events/batch") }()
	cfg.Observe = func(d invalidate.Done) {
		batches++
		if events.Add(int64(len(d.Events))) == n {
			close(done)
		}
	}
	v := r.invalidator(cfg)
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	<-done
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
	fatal(b, r.js.DeleteConsumer(b.Context(), r.stream, cfg.Durable))
	b.StartTimer()
}

func floor(b *testing.B, r *rig, n int64) {
	name := "floor-" + uuid.NewString()
	cons, err := r.js.CreateConsumer(b.Context(), r.stream, jetstream.ConsumerConfig{
		Durable: name, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 8192,
	})
	fatal(b, err)
	iter, err := cons.Messages(jetstream.PullMaxMessages(4096))
	fatal(b, err)
	msgs := make([]jetstream.Msg, 0, 256)
	for got := int64(0); got < n; {
		msgs = msgs[:0]
		pipe := r.rdb.Pipeline()
		for len(msgs) < cap(msgs) && got < n {
			msg, err := iter.Next()
			fatal(b, err)
			got++
			msgs = append(msgs, msg)
			pipe.Unlink(b.Context(), msg.Subject()+":profile")
			pipe.Unlink(b.Context(), msg.Subject()+":orders")
		}
		_, err := pipe.Exec(b.Context())
		fatal(b, err)
		for _, msg := range msgs {
			fatal(b, msg.Ack())
		}
	}
	b.StopTimer()
	iter.Stop()
	fatal(b, r.js.DeleteConsumer(b.Context(), r.stream, name))
	b.StartTimer()
}
