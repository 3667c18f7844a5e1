package demo

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// testStage is a stage on the servers of the tests, with nine committed events of three accounts and a stream.
func testEnvironment(t *testing.T) (*environment, []event.Event) {
	t.Helper()
	conn := devtest.Conn(t)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	e := &environment{
		pool: devtest.Pool(t), conn: conn, js: js, rdb: devtest.RedisClient(t),
		schema: devtest.Schema(t), home: devtest.Schema(t), stream: devtest.Stream(t), prefix: devtest.Prefix(t),
	}
	e.subject = strings.ToLower(e.stream) + ".accounts"
	if e.table, err = table.In(e.schema); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE SCHEMA " + e.home,
		"CREATE TABLE " + e.accounts() + " (aid int PRIMARY KEY, abalance int)",
		"INSERT INTO " + e.accounts() + " SELECT n, 0 FROM generate_series(1, 3) AS n",
	} {
		if _, err := e.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		if _, err := e.pool.Exec(t.Context(), "UPDATE "+e.accounts()+" SET abalance = abalance + 1 WHERE aid = $1", 1+n%3); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: e.stream, Subjects: []string{e.subject + ".>"}}); err != nil {
		t.Fatal(err)
	}
	return e, events(t, e)
}

// events returns those of the table as a relay would publish them.
func events(t *testing.T, e *environment) []event.Event {
	t.Helper()
	rows, err := e.pool.Query(t.Context(), e.table.SQL("SELECT event_id, key, created_at FROM outbox.event ORDER BY id"))
	if err != nil {
		t.Fatal(err)
	}
	var out []event.Event
	for rows.Next() {
		ev := event.Event{Position: int64(len(out) + 1)}
		if err := rows.Scan(&ev.ID, &ev.Key, &ev.CreatedAt); err != nil {
			t.Fatal(err)
		}
		ev.Subject = fmt.Sprintf("%s.%s.updated", e.subject, ev.Key)
		out = append(out, ev)
	}
	if err := rows.Err(); err != nil || len(out) != 9 {
		t.Fatalf("%d events, %v", len(out), err)
	}
	return out
}

func TestCheckCacheFindsStaleKeys(t *testing.T) {
	t.Parallel()
	e, _ := testEnvironment(t)
	set := func(aid string, value any) {
		t.Helper()
		if err := e.rdb.Set(t.Context(), e.key(aid), value, redis.KeepTTL).Err(); err != nil {
			t.Fatal(err)
		}
	}
	check := func(wantCached, wantStale int64) {
		t.Helper()
		cached, stale, err := e.checkCache(t.Context())
		if err != nil || cached != wantCached || stale != wantStale {
			t.Errorf("%d cached, %d stale, %v; want %d, %d", cached, stale, err, wantCached, wantStale)
		}
	}
	check(0, 0)
	set("1", 3)
	set("2", 3)
	check(2, 0)
	set("2", 2) // the value before the last change
	check(2, 1)
	set("4", 0) // has no row
	check(3, 2)
}
