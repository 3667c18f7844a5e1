package roles_test

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// seal is what only the owner may do to the outbox: change or remove rows, alter objects, disable triggers.
var seal = []string{
	"UPDATE outbox.event SET subject = 'b'", "UPDATE outbox.event SET resend_of = NULL", "DELETE FROM outbox.event", "TRUNCATE outbox.event",
	"UPDATE outbox.batch SET head = 0", "DELETE FROM outbox.receipt", "TRUNCATE outbox.batch", "DELETE FROM outbox.decision",
	"INSERT INTO outbox.event (id, subject) OVERRIDING SYSTEM VALUE VALUES (1, 'a')",
	"INSERT INTO outbox.event (id, subject) OVERRIDING USER VALUE VALUES (1, 'a')",
	"INSERT INTO outbox.event (id, subject) VALUES (DEFAULT, 'a')",
	"INSERT INTO outbox.event (xid, subject) VALUES ('1', 'a')", "INSERT INTO outbox.event (xid, subject) VALUES (DEFAULT, 'a')",
	"INSERT INTO outbox.event (created_at, subject) VALUES (now(), 'a')",
	"INSERT INTO outbox.event_1 (subject) VALUES ('a')", "INSERT INTO outbox.event_default (subject) VALUES ('a')",
	"SELECT * FROM outbox.event_1", "SELECT * FROM outbox.event_default", "DELETE FROM outbox.event_1", "TRUNCATE outbox.event_1",
	"SELECT nextval('outbox.event_id_seq')", "SELECT setval('outbox.event_id_seq', 1)", "SELECT currval('outbox.event_id_seq')",
	"SELECT * FROM outbox.event_id_seq", "ALTER SEQUENCE outbox.event_id_seq RESTART",
	"ALTER TABLE outbox.event DISABLE TRIGGER wake", "ALTER TABLE outbox.event ADD COLUMN x int", "DROP TABLE outbox.event",
	"ALTER TABLE outbox.event DETACH PARTITION outbox.event_1", "DROP TABLE outbox.event_1", "ALTER TABLE outbox.event_1 NO INHERIT outbox.event",
	"CREATE TABLE outbox.event_x PARTITION OF outbox.event FOR VALUES FROM (9000000000) TO (9000000001)",
	"CREATE TABLE outbox.x (a int)", "CREATE FUNCTION outbox.x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
	"CREATE OR REPLACE FUNCTION outbox.is_subject(subject text) RETURNS boolean LANGUAGE sql AS 'SELECT true'",
	"CREATE RULE r AS ON INSERT TO outbox.event DO INSTEAD NOTHING", "CREATE INDEX ON outbox.event (subject)",
	"CREATE TRIGGER t AFTER INSERT ON outbox.event FOR EACH STATEMENT EXECUTE FUNCTION outbox.wake()",
	"ALTER FUNCTION outbox.extend(bigint, integer, interval, text, integer) RESET search_path", "ALTER VIEW outbox.trail RENAME TO x", "DROP VIEW outbox.trail",
	"SELECT outbox.attach('outbox.event', 'a')", "SELECT outbox.detach('outbox.event')", "SELECT outbox.fill_template('outbox.event', 'a', 'r', 'insert')",
	"INSERT INTO outbox.attached VALUES ('outbox.event', 'a')", "INSERT INTO outbox.migration VALUES (99, 'x')", "INSERT INTO outbox.decision VALUES ('parked', 1, 'dropped')",
	"INSERT INTO outbox.pause (target, paused) VALUES ('relay', true)",
	"SET session_replication_role = replica", "DO 'BEGIN LOCK TABLE outbox.event IN SHARE MODE; END'",
	"DO 'BEGIN LOCK TABLE outbox.event IN ACCESS EXCLUSIVE MODE; END'", "DO 'BEGIN LOCK TABLE outbox.event_default; END'",
}

// unreadable is what only the roles that need it may read.
var unreadable = []string{
	"SELECT * FROM outbox.event", "SELECT subject FROM outbox.event", "SELECT count(*) FROM outbox.event", "COPY outbox.event (subject) TO STDOUT",
	"INSERT INTO outbox.event (subject) VALUES ('a') RETURNING id", "SELECT * FROM outbox.batch", "SELECT * FROM outbox.base", "SELECT * FROM outbox.receipt",
	"SELECT * FROM outbox.parked", "SELECT * FROM outbox.decision", "SELECT * FROM outbox.cluster", "SELECT * FROM outbox.trail",
	"SELECT outbox.partitions()", "SELECT outbox.trail_of_event(gen_random_uuid())", "SELECT outbox.trail_of_key('k')", "SELECT outbox.trail_of_time('-infinity', 'infinity')", "SELECT outbox.replaces_parked(gen_random_uuid())", "SELECT * FROM outbox.partition", "SELECT * FROM outbox.dropped", "SELECT * FROM outbox.job", "SELECT * FROM outbox.step", "SELECT * FROM outbox.pause",
	"SELECT * FROM outbox.attached", "SELECT * FROM outbox.migration", "CREATE TEMP VIEW v AS SELECT * FROM outbox.event; SELECT * FROM v",
}

// relayOnly is what only the relay may append.
var relayOnly = []string{
	"INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot) VALUES (1, 1, '{}', 0, pg_current_snapshot())",
	"INSERT INTO outbox.base VALUES (1, 's', now(), 1, 1, 'x')", "INSERT INTO outbox.receipt (stream, stream_created, position, sequence) VALUES ('s', now(), 1, 1)",
	"INSERT INTO outbox.parked VALUES (1, 1, gen_random_uuid(), 'a', 'x')", "INSERT INTO outbox.cluster VALUES (1, 1, 1, 1, 'x')",
	"SELECT outbox.extend()", "SELECT outbox.extend(1000, 1)", "SELECT outbox.empty_partition('event_1')", "SELECT outbox.drop_partition('event_1')",
}

func (e estate) sealed(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	before := e.rights(t)
	e.refused(t, pool, seal...)
	// A role with some right on a table gets a warning instead of an error, and grants nothing.
	_, _ = pool.Exec(t.Context(), e.table.SQL("GRANT ALL ON outbox.event TO PUBLIC"))
	_, _ = pool.Exec(t.Context(), e.table.SQL("GRANT ALL ON SCHEMA "+e.table.Schema()+" TO PUBLIC"))
	tabletest.Expect(t, e.rights(t), before...)
}

func TestWriterRole(t *testing.T) {
	e := newEstate(t)
	writer := e.login(t, "app", "writer")
	tabletest.InTx(t, writer, func(ctx context.Context, tx pgx.Tx) {
		_, err := e.table.Insert(ctx, tx, event.Event{Subject: "w.1", Key: "k", Headers: map[string]string{"H": "v"}}, event.Event{Subject: "w.2"})
		if err != nil {
			t.Error(err)
		}
	})
	db := stdlib.OpenDBFromPool(writer)
	defer db.Close()
	if tx, err := db.BeginTx(t.Context(), &sql.TxOptions{}); err != nil {
		t.Error(err)
	} else if _, err := e.table.InsertSQL(t.Context(), tx, event.Event{Subject: "w.3"}); err != nil {
		t.Error(err)
	} else if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	tabletest.Run(t, writer, e.table.SQL(`SELECT outbox.enqueue('w.4', '{"x": 1}')`), e.table.SQL(`SELECT outbox.enqueue('w.5', '{}'::jsonb, key => 'k', headers => '{"H": "v"}')`),
		e.table.SQL(`SELECT outbox.enqueue('w.6', '\x00ff'::bytea)`), e.table.SQL(`INSERT INTO outbox.event (subject) VALUES ('w.' || outbox.token('7'))`))
	n, err := writer.CopyFrom(t.Context(), pgx.Identifier{e.table.Schema(), "event"}, []string{"subject", "key", "payload"},
		pgx.CopyFromRows([][]any{{"w.8", "k", []byte("{}")}, {"w.9", nil, []byte{}}}))
	if err != nil || n != 2 {
		t.Errorf("copied %d, %v", n, err)
	}
	// A writer wakes a sleeping relay without a right on the function wake.
	session := tabletest.Session(t, e.table, e.pool)
	if asleep, err := session.Sleep(t.Context()); !asleep || err != nil {
		t.Fatalf("sleep: %v, %v", asleep, err)
	}
	tabletest.Run(t, writer, e.table.SQL("INSERT INTO outbox.event (subject) VALUES ('w.10')"))
	if woken, err := session.Wait(t.Context(), 10*time.Second); !woken || err != nil {
		t.Errorf("woken %v, %v", woken, err)
	}
	got := tabletest.Captured(t, session)
	if len(got) != 10 {
		t.Errorf("%d events, want 10: %v", len(got), got)
	}

	// A writer may insert beyond the last partition without another grant, and may not access the new partition
	// directly.
	tabletest.Run(t, e.pool, e.table.SQL("SELECT outbox.extend(1048576, 6), setval('outbox.event_id_seq', 4200000)"))
	tabletest.Run(t, writer, e.table.SQL("INSERT INTO outbox.event (subject) VALUES ('w.11')"))
	var home string
	if err := e.pool.QueryRow(t.Context(), e.table.SQL("SELECT tableoid::regclass::text FROM outbox.event ORDER BY id DESC LIMIT 1")).Scan(&home); err != nil || home != e.table.Schema()+".event_4194305" {
		t.Errorf("the row went to %s, %v", home, err)
	}
	e.refused(t, writer, "INSERT INTO outbox.event_4194305 (subject) VALUES ('a')", "SELECT * FROM outbox.event_4194305")
	e.sealed(t, writer)
	e.refused(t, writer, unreadable...)
	e.refused(t, writer, relayOnly...)
	// LISTEN and NOTIFY need no right. A notification carries no data.
	channel := pgx.Identifier{e.table.SQL("outbox.wake")}.Sanitize()
	tabletest.Run(t, writer, "LISTEN "+channel, "NOTIFY "+channel)
}

func TestAuditorRole(t *testing.T) {
	e := newEstate(t)
	auditor := e.login(t, "auditor", "auditor")
	tabletest.Run(t, e.pool, e.table.SQL(`SELECT outbox.enqueue('a.1', '{}')`))
	var state string
	if err := auditor.QueryRow(t.Context(), e.table.SQL("SELECT state FROM outbox.trail")).Scan(&state); err != nil || state != "pending" {
		t.Errorf("trail: %s, %v", state, err)
	}
	if s, err := e.table.Status(t.Context(), auditor, "s"); err != nil || s.Pending != 1 {
		t.Errorf("status %+v, %v", s, err)
	}
	if _, err := e.table.Attached(t.Context(), auditor); err != nil {
		t.Error(err)
	}
	if err := e.table.CheckMigrated(t.Context(), auditor); err != nil {
		t.Error(err)
	}
	e.sealed(t, auditor)
	e.refused(t, auditor, relayOnly...)
	e.refused(t, auditor, "INSERT INTO outbox.event (subject) VALUES ('a')", "SELECT outbox.enqueue('a', '{}')", "COPY outbox.event (subject) FROM STDIN")
}

// A person who replays dead events is a writer and an auditor with an additional right to insert decisions, which
// Apply does not revoke.
func TestOperatorRole(t *testing.T) {
	e := newEstate(t)
	operator := e.login(t, "operator", "writer", "auditor")
	const decide = "INSERT INTO outbox.decision (source, number, action, copy) VALUES ('parked', 1, 'replayed', gen_random_uuid()) ON CONFLICT (source, number) DO NOTHING RETURNING number"
	e.refused(t, operator, decide)
	tabletest.Run(t, e.pool, e.table.SQL("GRANT INSERT ON outbox.decision TO "+e.roles.Prefix+"_operator_login"))
	e.apply(t)
	original, err := e.table.InsertAndCommit(t.Context(), operator, event.Event{Subject: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.table.InsertAndCommit(t.Context(), operator, event.Event{Subject: "a", ResendOf: original[0]}); err != nil {
		t.Error(err)
	}
	tabletest.Run(t, operator, e.table.SQL(decide), e.table.SQL("SELECT * FROM outbox.event"), e.table.SQL("SELECT * FROM outbox.decision"))
	e.refused(t, operator, "UPDATE outbox.decision SET action = 'dropped'", "DELETE FROM outbox.decision", "INSERT INTO outbox.parked VALUES (1, 1, gen_random_uuid(), 'a', 'x')")
}
