package faults

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

const (
	retentionEnv    = "OUTBOX_RETENTION"     // how long; seven seconds when empty
	retentionDocEnv = "OUTBOX_RETENTION_DOC" // folder of the report; none when empty
)

const receiptPartition = 1000 // receipts in one, the fewest that outbox.extend makes

// pace is how large a soak of the retention is. It follows from its length.
type pace struct {
	length, keep          time.Duration
	kill, sample          time.Duration // between kills of the relay, between looks at the tables
	receipt, house        time.Duration // of the relay
	rate, writers, events int           // events a second, writers, events in one of their transactions
	partition             int64         // numbers in one
}

func paceOf(length time.Duration) pace {
	p := pace{length: length, keep: min(max(length/20, 5*time.Second), 90*time.Second), kill: length / 15, sample: max(length/360, time.Second),
		house: time.Second, rate: 1500, writers: 6, events: 15}
	if length == 0 {
		p = pace{length: 7 * time.Second, keep: time.Second, kill: 3 * time.Second, sample: 500 * time.Millisecond, house: 200 * time.Millisecond, rate: 500, writers: 1, events: 50}
	}
	p.receipt = max(p.keep/900, 10*time.Millisecond)
	p.partition = max(int64(float64(p.rate)*p.keep.Seconds()/3), 1000)
	return p
}

// turnover is an outbox whose partitions turn over while it is written to.
type turnover struct {
	pace
	s        *scene
	postgres *devstack.Postgres
	relay    *program
	reader   *reader
	load     steady
	began    time.Time
	samples  []sample
	kills    []time.Duration // when, since the begin
	result   result
}

// TestRetentionSoak keeps events for a short while, writes at a steady rate, and lets long transactions and kills of the relay
// come between. A consumer that reads along judges what the stream has, since the table drops what it was. Sizes
// are judged where the run is long enough.
func TestRetentionSoak(t *testing.T) {
	length, err := time.ParseDuration(os.Getenv(retentionEnv))
	if err != nil && os.Getenv(retentionEnv) != "" {
		t.Fatalf("%s: %v", retentionEnv, err)
	}
	u := newTurnover(t, paceOf(length))
	u.run(t)
	u.rest(t)
	u.judge(t)
	if length >= time.Minute {
		u.judgeSizes(t)
	}
	t.Logf("%+v", u.result)
	if dir := os.Getenv(retentionDocEnv); dir != "" {
		u.s.must(u.list(dir))
		if !t.Failed() {
			u.s.must(u.report(dir))
		}
	}
}

func newTurnover(t *testing.T, p pace) *turnover {
	u := &turnover{pace: p, postgres: devtest.OwnPostgres(t, devstack.PostgresConfig{Settings: map[string]string{
		"log_lock_waits": "on", "log_line_prefix": "[%a] ", "deadlock_timeout": fmt.Sprint(waitLogged.Milliseconds()), "max_wal_size": "512MB", "log_min_duration_statement": "3s",
	}})}
	u.s = newScene(t, options{database: u.postgres.URL(), nats: devtest.OwnNATS(t).URL(), limit: func(c *jetstream.StreamConfig) { c.MaxAge = 3 * time.Minute }})
	devtest.SmallPartitions(t, u.s.pool, u.s.table.SQL)
	// The first batch partition ends in the middle of one of the events. A batch that reaches into the next partition of
	// events is needed as long as that is there; so every batch partition goes with one of the events, not some of them.
	u.s.exec(`SELECT outbox.extend($1, 1, '1 day', 'batch', 1)`, max(p.partition/2, 1000))
	u.extend(t.Context())
	u.s.exec(`VACUUM`)
	return u
}

// extend makes small partitions ahead, more than the relay would, so that they turn over as if hours went by: the relay
// makes large ones. A transaction that reads the whole table keeps them from being made; those ahead outlast it.
func (u *turnover) extend(ctx context.Context) {
	u.s.t.Helper()
	for _, family := range families {
		size := u.partition
		if family == "receipt" {
			size = receiptPartition
		}
		for made := 1; made > 0; {
			err := u.s.pool.QueryRow(ctx, u.s.table.SQL(`SELECT outbox.extend($1, 12, '1 day', $2, 1)`), size, family).Scan(&made)
			if sqlstate.Is(err, sqlstate.LockNotAvailable) { // the next look comes
				break
			}
			u.s.must(err)
		}
	}
}

// run is the load, and what comes between.
func (u *turnover) run(t *testing.T) {
	u.reader = u.read(t)
	u.relay = u.start()
	u.s.flows()
	ctx, cancel := context.WithTimeout(t.Context(), u.length)
	defer cancel()
	defer u.explain(t)
	u.began = time.Now()
	u.write(ctx)
	look, kill := time.NewTicker(u.sample), time.NewTicker(u.kill)
	defer look.Stop()
	defer kill.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-look.C:
			u.extend(t.Context())
			if err := u.look(t.Context()); err != nil { // a partition may vanish under it
				t.Logf("sample not taken: %v", err)
			}
		case <-kill.C:
			began := time.Now()
			u.kills = append(u.kills, began.Sub(u.began))
			u.relay.kill()
			u.relay = u.start()
			u.s.recovered(began)
		}
	}
	u.s.must(u.load.group.Wait())
}

// explain says what the relay was at, and which statements were slow, when the test has failed.
func (u *turnover) explain(t *testing.T) {
	if !t.Failed() {
		return
	}
	u.relay.signal(syscall.SIGQUIT) // it prints its goroutines
	<-u.relay.done
	for _, line := range strings.Split(u.serverLog(), "\n") {
		if strings.Contains(line, " duration: ") {
			t.Log(line)
		}
	}
}

// rest waits until the reader has everything that was committed.
func (u *turnover) rest(t *testing.T) {
	u.s.rest()
	want := u.load.committed.Load() + 1 + int64(len(u.s.row.recoveries)) // probes
	u.s.eventually(time.Minute, "the reader has everything", func(context.Context) error {
		if got := u.reader.count(); got != want {
			return fmt.Errorf("%d events of %d", got, want)
		}
		return nil
	})
	u.reader.stop()
	u.s.must(u.look(t.Context()))
}

// judge holds what was read, written and dropped against each other.
func (u *turnover) judge(t *testing.T) {
	t.Helper()
	u.measure(t)
	r, v := &u.result, u.reader
	if v.lost+v.twice+v.reordered+v.misplaced > 0 {
		t.Errorf("%d events lost, %d twice, %d reordered, %d misplaced: %v", v.lost, v.twice, v.reordered, v.misplaced, v.said)
	}
	if r.Rows != r.Events {
		t.Errorf("%d rows are in the table or were dropped from it, %d were committed", r.Rows, r.Events)
	}
	for i, family := range families {
		most := r.Families[i].Dead
		allowed := int64(0)
		if family == "batch" { // a relay that is killed while it plans leaves the row of that plan, rolled back
			allowed = int64(len(u.kills))
		}
		if most > allowed || r.Families[i].Changed > 0 {
			t.Errorf("%s: %d dead tuples, want at most %d, and %d updates and deletes", family, most, allowed, r.Families[i].Changed)
		}
	}
	if r.Families[0].Dropped == 0 {
		t.Error("no partition of events was dropped")
	}
	for who, w := range map[string]waits{"a long transaction": r.Long, "a writer": r.Short} {
		if w.Longest > lockTimeout+waitMargin {
			t.Errorf("%s waited %v for a lock on a table of the outbox, want at most %v and a margin of %v", who, w.Longest, lockTimeout, waitMargin)
		}
	}
}

// start starts the relay.
func (u *turnover) start() *program {
	return startRelayChild(u.s.t, relayChild{Database: u.s.databaseURL, NATS: u.s.natsURL, Schema: outbox.DefaultSchema,
		Stream: u.s.stream, Retention: u.keep, ReceiptEvery: u.receipt, MaintainEvery: u.house})
}
