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
func testStage(t *testing.T) (*stage, []event.Event) {
	t.Helper()
	conn := devtest.Conn(t)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{
		pool: devtest.Pool(t), conn: conn, js: js, rdb: devtest.RedisClient(t),
		schema: devtest.Schema(t), home: devtest.Schema(t), stream: devtest.Stream(t), prefix: devtest.Prefix(t),
	}
	s.subject = strings.ToLower(s.stream) + ".accounts"
	if s.table, err = table.In(s.schema); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"CREATE SCHEMA " + s.home,
		"CREATE TABLE " + s.accounts() + " (aid int PRIMARY KEY, abalance int)",
		"INSERT INTO " + s.accounts() + " SELECT n, 0 FROM generate_series(1, 3) AS n",
	} {
		if _, err := s.pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.attach(t.Context()); err != nil {
		t.Fatal(err)
	}
	for n := range 9 {
		if _, err := s.pool.Exec(t.Context(), "UPDATE "+s.accounts()+" SET abalance = abalance + 1 WHERE aid = $1", 1+n%3); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: s.stream, Subjects: []string{s.subject + ".>"}}); err != nil {
		t.Fatal(err)
	}
	return s, events(t, s)
}

// events are those of the table as a relay would publish them.
func events(t *testing.T, s *stage) []event.Event {
	t.Helper()
	rows, err := s.pool.Query(t.Context(), s.table.SQL("SELECT event_id, key, created_at FROM outbox.event ORDER BY id"))
	if err != nil {
		t.Fatal(err)
	}
	var out []event.Event
	for rows.Next() {
		e := event.Event{Position: int64(len(out) + 1)}
		if err := rows.Scan(&e.ID, &e.Key, &e.CreatedAt); err != nil {
			t.Fatal(err)
		}
		e.Subject = fmt.Sprintf("%s.%s.updated", s.subject, e.Key)
		out = append(out, e)
	}
	if err := rows.Err(); err != nil || len(out) != 9 {
		t.Fatalf("%d events, %v", len(out), err)
	}
	return out
}

func TestAuditFindsStaleKeys(t *testing.T) {
	t.Parallel()
	s, _ := testStage(t)
	set := func(aid string, value any) {
		t.Helper()
		if err := s.rdb.Set(t.Context(), s.key(aid), value, redis.KeepTTL).Err(); err != nil {
			t.Fatal(err)
		}
	}
	look := func(wantCached, wantStale int64) {
		t.Helper()
		cached, stale, err := s.auditCache(t.Context())
		if err != nil || cached != wantCached || stale != wantStale {
			t.Errorf("%d cached, %d stale, %v; want %d, %d", cached, stale, err, wantCached, wantStale)
		}
	}
	look(0, 0)
	set("1", 3)
	set("2", 3)
	look(2, 0)
	set("2", 2) // what it was before the last change
	look(2, 1)
	set("4", 0) // of no row
	look(3, 2)
}
