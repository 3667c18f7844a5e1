package invalidate_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// A logbook stores log output.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// outage checks an outage of Redis that is longer than AckWait: no event is acknowledged, dead-lettered or redelivered,
// and afterwards all keys are deleted.
func outage(t *testing.T, r *rig, stop, start func()) {
	const n = 1500
	var log logbook
	cfg := r.config()
	cfg.AckWait = 2 * time.Second
	cfg.Logger = log.logger()
	v := r.invalidator(cfg)
	end := r.run(v)
	r.fill(0, 100)
	r.publish(0, 100)
	r.settled()
	acked := r.consumer(durable).AckFloor.Stream

	stop()
	r.publish(100, n)
	r.until(v, "paused", func(s invalidate.Stats) bool { return s.Paused })
	began := time.Now()
	r.until(v, "twice AckWait has passed", func(invalidate.Stats) bool { return time.Since(began) > 2*cfg.AckWait })
	info := r.consumer(durable)
	same(t, "ack floor", info.AckFloor.Stream, acked)
	same(t, "redelivered by the server", info.NumRedelivered, 0)
	same(t, "events", v.Stats().Events, 100)
	if s := v.Stats(); !s.Paused || s.RedisErrors == 0 {
		t.Errorf("stats: %+v", s)
	}

	start()
	r.settled()
	r.until(v, "all events", func(s invalidate.Stats) bool { return s.Events == n && !s.Paused })
	same(t, "keys", v.Stats().Keys, 2*n)
	same(t, "redelivered", v.Stats().Redelivered, 0)
	r.noDeadLetters()
	if err := end(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if log.count("Redis commands fail, pausing until they succeed") != 1 || log.count("Redis commands succeed again, continuing") != 1 || log.count("level=") != 2 {
		t.Errorf("log:\n%s", log.text.String())
	}
}

func TestRedisStoppedForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := devtest.OwnRedis(t)
	r.rdb = redisClient(t, server.URL())
	outage(t, r,
		func() { fatal(t, server.Stop()) },
		func() { fatal(t, server.Start(t.Context())) })
}

// A master that became a replica answers, but rejects deletions. It keeps its data, so the test can check afterwards
// that all keys were deleted.
func TestRedisReadOnlyForAWhile(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rdb = redisClient(t, devtest.OwnRedis(t).URL())
	outage(t, r,
		func() {
			r.fill(100, 1500)
			fatal(t, r.rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
		},
		func() { fatal(t, r.rdb.ReplicaOf(t.Context(), "NO", "ONE").Err()) })
}

// During an outage the invalidator keeps its messages in progress, those in the batch and those in the puller: the
// server does not deliver them to another invalidator, which could not delete their keys either.
func TestOutageKeepsTheMessagesInHand(t *testing.T) {
	t.Parallel()
	const n = 60
	r := newRig(t)
	r.rdb = redisClient(t, devtest.OwnRedis(t).URL())
	r.fill(0, n)
	r.publish(0, n)
	fatal(t, r.rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	cfg := r.config()
	cfg.AckWait = 3 * time.Second
	cfg.Batch = 10
	v := r.invalidator(cfg)
	r.run(v)
	r.until(v, "paused", func(s invalidate.Stats) bool { return s.Paused })
	began := time.Now()
	r.until(v, "twice AckWait has passed", func(invalidate.Stats) bool { return time.Since(began) > 2*cfg.AckWait })
	info := r.consumer(durable)
	same(t, "pending, not acknowledged, redelivered", []int{int(info.NumPending), info.NumAckPending, info.NumRedelivered}, []int{0, n, 0})
	cons, err := r.js.Consumer(t.Context(), r.stream, durable)
	fatal(t, err)
	other, err := cons.FetchNoWait(n)
	fatal(t, err)
	for msg := range other.Messages() {
		t.Errorf("another consumer received %s", msg.Subject())
	}
	fatal(t, r.rdb.ReplicaOf(t.Context(), "NO", "ONE").Err())
	r.settled()
	same(t, "redelivered", v.Stats().Redelivered, 0)
}

// A slow Redis that answers in time is no outage. Messages that wait in the puller for many batches stay in progress
// all the same.
func TestSlowRedisKeepsWaitingMessages(t *testing.T) {
	t.Parallel()
	const n = 240 // one and a half windows
	r := newRig(t)
	r.fill(0, n)
	server, err := url.Parse(devtest.Redis(t).URL())
	fatal(t, err)
	proxy, err := faultnet.Listen(server.Host)
	fatal(t, err)
	t.Cleanup(func() { fatal(t, proxy.Close()) })
	cfg := r.config()
	cfg.AckWait = 3 * time.Second
	cfg.Batch = 10
	server.Host = proxy.Addr()
	v, err := invalidate.New(r.js, redisClient(t, server.String()), cfg)
	fatal(t, err)
	proxy.Slice(faultnet.ToServer, 32<<10, 300*time.Millisecond) // per batch; all batches together take longer than AckWait
	r.publish(0, n)
	r.run(v)
	r.settled()
	r.until(v, "all events", func(s invalidate.Stats) bool { return s.Events >= n })
	s := v.Stats()
	same(t, "events, redelivered, errors", []int64{s.Events, s.Redelivered, s.RedisErrors}, []int{n, 0, 0})
}

func redisClient(t testing.TB, url string) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(url)
	fatal(t, err)
	client := redis.NewClient(opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func fatal(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// When the context ends during an outage, Run gives up after Grace. No event is lost, because none was acknowledged.
func TestGraceEndsAnOutage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.rdb = redisClient(t, devtest.OwnRedis(t).URL())
	r.fill(0, 10)
	fatal(t, r.rdb.ReplicaOf(t.Context(), "127.0.0.1", "1").Err())
	r.publish(0, 10)
	cfg := r.config()
	cfg.AckWait = time.Second
	cfg.Grace = 300 * time.Millisecond
	v := r.invalidator(cfg)
	stop := r.run(v)
	r.until(v, "paused", func(s invalidate.Stats) bool { return s.Paused })
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if d := time.Since(began); d < cfg.Grace || d > cfg.Grace+5*time.Second {
		t.Errorf("Run returned after %s; want Grace, %s", d, cfg.Grace)
	}
	same(t, "ack floor", r.consumer(durable).AckFloor.Stream, 0)
	same(t, "paused", v.Stats().Paused, false)

	fatal(t, r.rdb.ReplicaOf(t.Context(), "NO", "ONE").Err())
	r.run(r.invalidator(cfg))
	r.settled()
}

func TestNATSStoppedForAWhile(t *testing.T) {
	t.Parallel()
	const n = 2000
	server := devtest.OwnNATS(t)
	conn, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	fatal(t, err)
	t.Cleanup(conn.Close)
	r := &rig{t: t, js: jetStream(t, conn), rdb: devtest.RedisClient(t), stream: "OUTBOX"}
	r.finish()
	cfg := r.config()
	cfg.AckWait = 2 * time.Second // the server redelivers what the stop loses after this time
	v := r.invalidator(cfg)
	r.run(v)
	r.fill(0, n)
	r.publish(0, n/2)
	r.until(v, "progress", func(s invalidate.Stats) bool { return s.Events > 0 })
	for range 3 {
		fatal(t, server.Stop())
		fatal(t, server.Start())
	}
	devtest.Eventually(t, patience, "connected", func() error {
		if !conn.IsConnected() {
			return errors.New(conn.Status().String())
		}
		return nil
	})
	r.publish(n/2, n)
	r.settled()
	r.noDeadLetters()
}

func TestConsumerDeletedWhileRunning(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	v := r.invalidator(r.config())
	r.run(v)
	for i := range 3 {
		r.fill(100*i, 100*i+100)
		r.publish(100*i, 100*i+100)
		r.settled()
		fatal(t, r.js.DeleteConsumer(t.Context(), r.stream, durable))
	}
	r.fill(300, 310)
	r.publish(300, 310)
	devtest.Eventually(t, patience, "consumer created again", func() error {
		_, err := r.js.Consumer(t.Context(), r.stream, durable)
		return err
	})
	r.settled()
}

func TestStreamMissingThenDeletedAndCreatedAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	fatal(t, r.js.DeleteStream(t.Context(), r.stream))
	var log logbook
	cfg := r.config()
	cfg.Logger = log.logger()
	r.run(r.invalidator(cfg))
	waiting := "stream does not exist yet"
	for i := range 2 {
		devtest.Eventually(t, patience, "logged that it waits", func() error {
			if n := log.count(waiting); n != i+1 {
				return fmt.Errorf("logged %d times; want %d", n, i+1)
			}
			return nil
		})
		r.makeStream()
		r.fill(0, 50)
		r.publish(0, 50)
		r.settled()
		fatal(t, r.js.DeleteStream(t.Context(), r.stream))
	}
	if _, err := r.js.Stream(t.Context(), r.stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the invalidator created the stream: %v", err)
	}
}
