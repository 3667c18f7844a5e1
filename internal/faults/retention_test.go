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
	retentionEnv    = "OUTBOX_RETENTION"     // duration; empty means seven seconds
	retentionDocEnv = "OUTBOX_RETENTION_DOC" // folder of the report; empty means no report
)

const receiptPartition = 1000 // receipts in a partition, the minimum of outbox.extend

// soakConfig determines the size of a retention soak.
type soakConfig struct {
	length, retention           time.Duration // of the run, and of events
	killEvery, sampleEvery      time.Duration // intervals of kills of the relay, and of samples
	receiptEvery, maintainEvery time.Duration // configuration of the relay
	rate, writers, batch        int           // events a second, number of writers, events in a transaction
	partitionSize               int64         // ids in a partition
}

// configFor derives the configuration from the length of the run; 0 means the small size of `make test`.
func configFor(length time.Duration) soakConfig {
	c := soakConfig{length: length, retention: min(max(length/20, 5*time.Second), 90*time.Second), killEvery: length / 15, sampleEvery: max(length/360, time.Second),
		maintainEvery: time.Second, rate: 1500, writers: 6, batch: 15}
	if length == 0 {
		c = soakConfig{length: 7 * time.Second, retention: time.Second, killEvery: 3 * time.Second, sampleEvery: 500 * time.Millisecond,
			maintainEvery: 200 * time.Millisecond, rate: 500, writers: 1, batch: 50}
	}
	c.receiptEvery = max(c.retention/900, 10*time.Millisecond)
	c.partitionSize = max(int64(float64(c.rate)*c.retention.Seconds()/3), 1000)
	return c
}

// A retentionSoak is an outbox with a short retention, so that many partitions are created and dropped under load.
type retentionSoak struct {
	soakConfig
	s        *scenario
	postgres *devstack.Postgres
	relay    *program
	reader   *reader
	load     steadyLoad
	began    time.Time
	samples  []sample
	kills    []time.Duration // since the start of the load
	result   result
}

// TestRetentionSoak runs an outbox with a short retention under a constant load, with long transactions and kills of
// the relay. A consumer checks the stream during the run, because the table drops old events. Sizes are checked if the
// run is long enough.
func TestRetentionSoak(t *testing.T) {
	length := durationFrom(t, retentionEnv)
	rs := newRetentionSoak(t, configFor(length))
	rs.run(t)
	rs.awaitRead(t)
	rs.check(t)
	if length >= time.Minute {
		rs.checkSizes(t)
	}
	t.Logf("%+v", rs.result)
	if dir := os.Getenv(retentionDocEnv); dir != "" {
		rs.s.must(rs.writeSamples(dir))
		if !t.Failed() {
			rs.s.must(rs.writeReport(dir))
		}
	}
}

func newRetentionSoak(t *testing.T, c soakConfig) *retentionSoak {
	t.Helper()
	rs := &retentionSoak{soakConfig: c, postgres: devtest.OwnPostgres(t, devstack.PostgresConfig{Settings: map[string]string{
		"log_lock_waits": "on", "log_line_prefix": "[%a] ", "deadlock_timeout": fmt.Sprint(waitLogged.Milliseconds()), "max_wal_size": "512MB", "log_min_duration_statement": "3s",
	}})}
	rs.s = newScenario(t, options{database: rs.postgres.URL(), nats: devtest.OwnNATS(t).URL(), limit: func(c *jetstream.StreamConfig) { c.MaxAge = 3 * time.Minute }})
	devtest.SmallPartitions(t, rs.s.pool, rs.s.table.SQL)
	// The first partition of batches ends in the middle of a partition of events. A batch that extends into the next
	// partition of events is needed until that one is dropped. With this offset each partition of batches is dropped
	// together with one partition of events; without it, some would be dropped later.
	rs.s.exec(`SELECT outbox.extend($1, 1, '1 day', 'batch', 1)`, max(c.partitionSize/2, 1000))
	rs.extend(t.Context())
	rs.s.exec(`VACUUM`)
	return rs
}

// extend creates small partitions in advance. The relay would create large ones, of which few would be dropped during
// the run. A transaction that reads the whole table prevents new partitions, so extend creates enough of them for that
// time.
func (rs *retentionSoak) extend(ctx context.Context) {
	rs.s.t.Helper()
	for _, family := range families {
		size := rs.partitionSize
		if family == "receipt" {
			size = receiptPartition
		}
		for made := 1; made > 0; {
			err := rs.s.pool.QueryRow(ctx, rs.s.table.SQL(`SELECT outbox.extend($1, 12, '1 day', $2, 1)`), size, family).Scan(&made)
			if sqlstate.Is(err, sqlstate.LockNotAvailable) { // lock_not_available: the next call tries again
				break
			}
			rs.s.must(err)
		}
	}
}

// run runs the load, takes samples, and kills the relay at intervals.
func (rs *retentionSoak) run(t *testing.T) {
	rs.reader = rs.startReader(t)
	rs.relay = rs.startRelay()
	rs.s.probe()
	ctx, cancel := context.WithTimeout(t.Context(), rs.length)
	defer cancel()
	defer rs.logDiagnostics(t)
	rs.began = time.Now()
	rs.startWriters(ctx)
	sample, kill := time.NewTicker(rs.sampleEvery), time.NewTicker(rs.killEvery)
	defer sample.Stop()
	defer kill.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-sample.C:
			rs.extend(t.Context())
			if err := rs.takeSample(t.Context()); err != nil { // a partition may be dropped while it is read
				t.Logf("sample skipped: %v", err)
			}
		case <-kill.C:
			began := time.Now()
			rs.kills = append(rs.kills, began.Sub(rs.began))
			rs.relay.Kill()
			rs.relay = rs.startRelay()
			rs.s.measureRecovery(began)
		}
	}
	rs.s.must(rs.load.group.Wait())
}

// logDiagnostics logs, if the test has failed, the goroutines of the relay and the slow statements.
func (rs *retentionSoak) logDiagnostics(t *testing.T) {
	if !t.Failed() {
		return
	}
	rs.relay.signal(syscall.SIGQUIT) // makes it print its goroutines
	<-rs.relay.Done()
	for _, line := range strings.Split(rs.serverLog(), "\n") {
		if strings.Contains(line, " duration: ") {
			t.Log(line)
		}
	}
}

// awaitRead waits until the reader has received every committed event.
func (rs *retentionSoak) awaitRead(t *testing.T) {
	rs.s.awaitIdle()
	want := rs.load.committed.Load() + 1 + int64(len(rs.s.row.recoveries)) // the events of probe
	rs.s.eventually(time.Minute, "every event read", func(context.Context) error {
		if got := rs.reader.count(); got != want {
			return fmt.Errorf("got %d events, want %d", got, want)
		}
		return nil
	})
	rs.reader.stop()
	rs.s.must(rs.takeSample(t.Context()))
}

// check compares the events that were committed, read and dropped.
func (rs *retentionSoak) check(t *testing.T) {
	t.Helper()
	rs.measure(t)
	r, v := &rs.result, rs.reader
	if v.lost+v.twice+v.reordered+v.misplaced > 0 {
		t.Errorf("got %d events lost, %d twice, %d reordered, %d misplaced, want 0: %v", v.lost, v.twice, v.reordered, v.misplaced, v.errors)
	}
	if r.Rows != r.Events {
		t.Errorf("got %d rows in the table or dropped from it, want the %d that were committed", r.Rows, r.Events)
	}
	for i, family := range families {
		most := r.Families[i].Dead
		allowed := int64(0)
		if family == "batch" { // a relay that is killed while it plans leaves a dead tuple, the row of that plan
			allowed = int64(len(rs.kills))
		}
		if most > allowed || r.Families[i].Changed > 0 {
			t.Errorf("%s: got %d dead tuples, want at most %d, and %d updates and deletes, want 0", family, most, allowed, r.Families[i].Changed)
		}
	}
	if r.Families[0].Dropped == 0 {
		t.Error("got 0 dropped partitions of events, want some")
	}
	for who, w := range map[string]lockWaits{"a long transaction": r.Long, "a writer": r.Short} {
		if w.Longest > lockTimeout+waitMargin {
			t.Errorf("%s waited %v for a lock on a table of the outbox, want at most %v plus a margin of %v", who, w.Longest, lockTimeout, waitMargin)
		}
	}
}

// startRelay starts the relay.
func (rs *retentionSoak) startRelay() *program {
	return startRelayChild(rs.s.t, relayChild{Database: rs.s.databaseURL, NATS: rs.s.natsURL, Schema: outbox.DefaultSchema,
		Stream: rs.s.stream, Retention: rs.retention, ReceiptEvery: rs.receiptEvery, MaintainEvery: rs.maintainEvery})
}
