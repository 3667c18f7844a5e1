package outbox_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

var sample = outbox.Event{
	Subject: "users.42.updated", Key: `4"2\`, Payload: []byte("\x00\xff{},\"\\'"), ContentType: "application/octet-stream",
	Headers: map[string]string{"Trace-Parent": `00-"x"`, "Empty": ""}, ResendOf: uuid.MustParse("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
}

// wrapped embeds a transaction, as sqlx and bun do.
type wrapped struct{ *sql.Tx }

// Every kind of transaction takes the same events, and they come out as they went in.
func TestInsertThroughEveryKindOfTransaction(t *testing.T) {
	tbl, pool := tabletest.New(t)
	db := stdlib.OpenDBFromPool(pool)
	t.Cleanup(func() { _ = db.Close() })
	events := []outbox.Event{sample, {Subject: "a", ID: uuid.New()}, {Subject: "b"}}
	inserted := func(ids []uuid.UUID, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) != 3 || ids[0] == uuid.Nil || ids[0] == ids[2] {
			t.Fatalf("ids %v", ids)
		}
	}
	insert := func(tx pgx.Tx) { inserted(tbl.Insert(t.Context(), tx, events...)) }
	insertSQL := func(tx *sql.Tx) { inserted(tbl.InsertSQL(t.Context(), tx, events...)) }
	kinds := map[string]func(t *testing.T){
		"pgx.Tx": func(t *testing.T) {
			tabletest.InTx(t, pool, func(_ context.Context, tx pgx.Tx) { insert(tx) })
		},
		"pgxpool.Conn": func(t *testing.T) {
			err := pool.AcquireFunc(t.Context(), func(c *pgxpool.Conn) error {
				return pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error { insert(tx); return nil })
			})
			if err != nil {
				t.Fatal(err)
			}
		},
		"sql.Tx":  func(t *testing.T) { inSQLTx(t, db, insertSQL) },
		"wrapper": func(t *testing.T) { inSQLTx(t, db, func(tx *sql.Tx) { insertSQL(wrapped{tx}.Tx) }) },
	}
	for name, run := range kinds {
		t.Run(name, func(t *testing.T) {
			run(t)
			session := tabletest.Session(t, tbl, pool)
			events, err := session.Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20})
			if err != nil || len(events) != 3 {
				t.Fatalf("planned %d, %v", len(events), err)
			}
			got := events[0]
			if got.Subject != sample.Subject || got.Key != sample.Key || string(got.Payload) != string(sample.Payload) ||
				got.ContentType != sample.ContentType || got.Headers["Trace-Parent"] != `00-"x"` || len(got.Headers) != 2 || got.ResendOf != sample.ResendOf {
				t.Fatalf("got %+v", got.Event)
			}
			if events[1].ContentType != outbox.DefaultContentType || events[1].Key != "" || events[2].Headers != nil {
				t.Fatalf("got %+v, %+v", events[1].Event, events[2].Event)
			}
		})
	}
}

func inSQLTx(t *testing.T, db *sql.DB, f func(*sql.Tx)) {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it has nothing to do
	f(tx)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

func TestInsertOfNoEvents(t *testing.T) {
	tbl, pool := tabletest.New(t)
	tabletest.InTx(t, pool, func(ctx context.Context, tx pgx.Tx) {
		if ids, err := tbl.Insert(ctx, tx); ids != nil || err != nil {
			t.Errorf("Insert of no events = %v, %v; want nil, nil", ids, err)
		}
	})
}

// InsertSQL takes exactly a *sql.Tx: the wrapper of a library may rewrite the placeholders of the statement.
var _ func(context.Context, *sql.Tx, ...outbox.Event) ([]uuid.UUID, error) = outbox.InsertSQL

func TestRolledBackEventIsNeverPlanned(t *testing.T) {
	tbl, pool := tabletest.New(t)
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tbl.Insert(t.Context(), tx, sample); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	events, err := tabletest.Session(t, tbl, pool).Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20})
	if err != nil || len(events) != 0 {
		t.Fatalf("planned %v, %v", events, err)
	}
}

// Validate and the constraints of the table refuse the same events.
func TestValidateAgreesWithTheTable(t *testing.T) {
	tbl, pool := tabletest.New(t)
	long := func(n int) string { return strings.Repeat("x", n) }
	subjects := map[string]bool{
		"a": true, "users.42.updated": true, "Ünï.cödé": true, "a-b_c%20": true, long(1024): true,
		"": false, ".": false, "a.": false, ".a": false, "a..b": false, "a.*": false, "a.>": false, "a b": false, "a\tb": false,
		"a\nb": false, "a*b": false, "$JS.API.x": false, "$x": false, "_INBOX.x": false, "_INBOX_outbox_relay.x": false, "_OUTBOX.x": false, long(1025): false, "a\u00a0b": true,
	}
	for subject, valid := range subjects {
		if err := event.ValidateSubject(subject); (err == nil) != valid {
			t.Errorf("ValidateSubject(%.20q) = %v, want valid %v", subject, err, valid)
		}
		_, err := pool.Exec(t.Context(), tbl.SQL("INSERT INTO outbox.event (subject) VALUES ($1)"), subject)
		if (err == nil) != valid {
			t.Errorf("insert of subject %.20q: %v, want valid %v", subject, err, valid)
		}
	}
	headers := map[string]bool{
		`{"A-b_9":"x"}`: true, `{"a":""}`: true, `{}`: true, `{"Outbox-Op":"insert"}`: true,
		`{"Nats-Rollup":"all"}`: false, `{"nats-x":"1"}`: false, `{"Outbox-Position":"1"}`: false, `{"content-type":"x"}`: false,
		`{"a b":"x"}`: false, `{"":"x"}`: false, `{"a:":"x"}`: false, `{"a":"x\ny"}`: false, `{"a":" x"}`: false, `{"a":1}`: false, `{"a":null}`: false, `[]`: false, `"x"`: false,
		`{"a":"` + long(17000) + `"}`: false,
	}
	for h, valid := range headers {
		_, err := pool.Exec(t.Context(), tbl.SQL("INSERT INTO outbox.event (subject, headers) VALUES ('a', $1::text::jsonb)"), h)
		if (err == nil) != valid {
			t.Errorf("insert of headers %.30s: %v, want valid %v", h, err, valid)
		}
	}
	for _, e := range []outbox.Event{
		{Subject: "a", Key: " x"}, {Subject: "a", Key: "x\n"}, {Subject: "a", Key: long(1025)}, {Subject: "a", ContentType: long(256)},
		{Subject: "a", Payload: make([]byte, outbox.MaxPayload+1)}, {Subject: "a", Headers: map[string]string{"Nats-Rollup": "all"}},
		{Subject: "a", Headers: map[string]string{"Content-Type": "x"}}, {Subject: "a", Headers: map[string]string{"a": "x\r"}},
		{Subject: "a", Headers: map[string]string{"a": long(17000)}}, {Subject: "a", Key: "\xff"},
	} {
		if _, err := tbl.InsertAndCommit(t.Context(), pool, e); !errors.Is(err, outbox.ErrInvalid) {
			t.Errorf("%.40q: got %v, want ErrInvalid", e.Key+e.ContentType, err)
		}
	}
	for _, q := range []string{
		"INSERT INTO outbox.event (subject, key) VALUES ('a', ' x')", "INSERT INTO outbox.event (subject, key) VALUES ('a', '')",
		"INSERT INTO outbox.event (subject, payload) VALUES ('a', convert_to(repeat('x', 983041), 'UTF8'))",
		"INSERT INTO outbox.event (subject, content_type) VALUES ('a', '')",
		"INSERT INTO outbox.event (id, subject) VALUES (7, 'a')", // the sequence generates ids
	} {
		if _, err := pool.Exec(t.Context(), tbl.SQL(q)); err == nil {
			t.Errorf("%s: want an error", q)
		}
	}
}

func TestEnqueue(t *testing.T) {
	tbl, pool := tabletest.New(t)
	for _, q := range []string{
		`SELECT outbox.enqueue('a.1', '{"x": 1}')`,
		`SELECT outbox.enqueue('a.2', '{"x": 1}'::jsonb, key => 'k', headers => '{"H": "v"}')`,
		`SELECT outbox.enqueue('a.3', '\x00ff'::bytea)`,
		`SELECT outbox.enqueue('a.4', 'plain', content_type => 'text/plain')`,
	} {
		var id uuid.UUID
		if err := pool.QueryRow(t.Context(), tbl.SQL(q)).Scan(&id); err != nil || id == uuid.Nil {
			t.Fatalf("%s: %v, %v", q, id, err)
		}
	}
	for _, q := range []string{`SELECT outbox.enqueue('a.*', '{}')`, `SELECT outbox.enqueue('a', 'not json')`} {
		if _, err := pool.Exec(t.Context(), tbl.SQL(q)); err == nil {
			t.Errorf("%s: want an error", q)
		}
	}
	// Drivers of other languages send a parameter without a type; enqueue then takes it as text.
	var id uuid.UUID
	if err := pool.QueryRow(t.Context(), tbl.SQL("SELECT outbox.enqueue($1, $2)"), pgx.QueryExecModeSimpleProtocol, "a.5", `{"y":2}`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	events, err := tabletest.Session(t, tbl, pool).Plan(t.Context(), table.Page{Events: 10, Bytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, e.Subject+" "+e.Key+" "+string(e.Payload)+" "+e.ContentType+" "+e.Headers["H"])
	}
	want := []string{`a.1  {"x": 1} application/json `, `a.2 k {"x": 1} application/json v`, "a.3  \x00\xff application/octet-stream ", "a.4  plain text/plain ", `a.5  {"y":2} application/json `}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

func TestTokenInGoAndSQL(t *testing.T) {
	tbl, pool := tabletest.New(t)
	for _, s := range []string{"", "42", "a b", "a.b", "é*>", "%", "%41", "a-b_C", "日本", "\t"} {
		var token string
		if err := pool.QueryRow(t.Context(), tbl.SQL("SELECT outbox.token($1)"), s).Scan(&token); err != nil {
			t.Fatal(err)
		}
		if token != outbox.Token(s) {
			t.Errorf("token of %q is %q in SQL, %q in Go", s, token, outbox.Token(s))
		}
		if back := event.DecodeToken(token); back != s {
			t.Errorf("token %q decodes to %q, want %q", token, back, s)
		}
	}
}
