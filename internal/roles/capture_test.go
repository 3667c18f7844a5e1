package roles_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/roles"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func dropSchemaNow(t *testing.T, pool *pgxpool.Pool, name string) {
	t.Helper()
	if _, err := pool.Exec(context.Background(), "DROP SCHEMA "+name+" CASCADE"); err != nil {
		t.Errorf("drop schema %s: %v", name, err)
	}
}

// market returns an estate with a table of another role that the owner of the outbox attached, and the pool of an
// application that may only change that table.
func market(t *testing.T) (e estate, owner, app *pgxpool.Pool, goods string) {
	t.Helper()
	e = newEstate(t)
	own := "shop_" + e.table.Schema()
	goods = own + ".goods"
	tabletest.Run(t, e.pool, fmt.Sprintf("CREATE SCHEMA %s; CREATE TABLE %s (id int PRIMARY KEY, name text)", own, goods))
	owner, app = e.login(t, "owner", "owner"), e.login(t, "app")
	login := e.roles.Prefix + "_app_login"
	// Attaching needs the right TRIGGER on the table; attaching again and detaching need its ownership.
	tabletest.Run(t, e.pool, fmt.Sprintf("GRANT USAGE ON SCHEMA %s TO %q, %q; GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO %[2]q; GRANT TRIGGER ON %[4]s TO %[3]q",
		own, login, e.group("owner"), goods))
	t.Cleanup(func() { dropSchemaNow(t, e.pool, own) })
	if _, err := e.table.Attach(t.Context(), owner, outbox.Attachment{Table: goods, Subject: "goods.{id}.{op}"}, time.Second); err != nil {
		t.Fatal(err)
	}
	return e, owner, app, goods
}

// An application that changes an attached table inserts events, and can do nothing else to the outbox, nor attach a
// table of its own.
func TestApplicationOfAnAttachedTable(t *testing.T) {
	e, _, app, goods := market(t)
	tabletest.Run(t, app, "INSERT INTO "+goods+" VALUES (1, 'a'), (2, 'b')", "UPDATE "+goods+" SET name = 'c' WHERE id = 1", "DELETE FROM "+goods+" WHERE id = 2")
	tabletest.Expect(t, tabletest.Captured(t, tabletest.Session(t, e.table, e.pool)),
		`goods.1.inserted 1 insert {"id": 1, "name": "a"}`, `goods.2.inserted 2 insert {"id": 2, "name": "b"}`,
		`goods.1.updated 1 update {"id": 1, "name": "c"}`, `goods.2.deleted 2 delete {"id": 2, "name": "b"}`)
	var loose []string
	err := e.pool.QueryRow(t.Context(), `SELECT coalesce(array_agg(proname), '{}') FROM pg_proc
		WHERE pronamespace = to_regnamespace($1) AND prosqlbody IS NULL AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (proconfig), false)`,
		e.table.Schema()).Scan(&loose)
	if err != nil || len(loose) > 0 {
		t.Errorf("functions that go by the caller's search path: %v, %v", loose, err)
	}
	e.sealed(t, app)
	e.refused(t, app, unreadable...)
	e.refused(t, app, relayOnly...)
	var function string
	if err := e.pool.QueryRow(t.Context(), "SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND proname LIKE 'capture_%'", e.table.Schema()).Scan(&function); err != nil {
		t.Fatal(err)
	}
	// Whichever role attached, the trigger runs as the owner of the outbox.
	alice := e.login(t, "alice")
	tabletest.Run(t, e.pool, fmt.Sprintf("GRANT %q TO %q; ALTER TABLE %s OWNER TO %[1]q", e.group("owner"), e.roles.Prefix+"_alice_login", goods))
	for name, pool := range map[string]*pgxpool.Pool{"superuser": e.pool, "alice": alice} {
		if _, err := e.table.Attach(t.Context(), pool, outbox.Attachment{Table: goods, Subject: "goods.{id}.{op}"}, time.Second); err != nil {
			t.Fatalf("attach as %s: %v", name, err)
		}
		var keeper string
		err := e.pool.QueryRow(t.Context(), "SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = to_regnamespace($1) AND proname = $2", e.table.Schema(), function).Scan(&keeper)
		if err != nil || keeper != e.group("owner") {
			t.Errorf("attached by %s, the capture works as %s, %v", name, keeper, err)
		}
	}
	steal := "CREATE TRIGGER steal AFTER INSERT ON mine REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION outbox." + function + "()"
	for name, pool := range map[string]*pgxpool.Pool{"app": app, "writer": e.login(t, "writer", "writer")} {
		tabletest.Run(t, pool, "CREATE TEMP TABLE mine (id int, name text)")
		e.refused(t, pool, steal, "INSERT INTO outbox.event (subject, xid) VALUES ('"+name+"', '1')")
	}
	e.refused(t, app, "INSERT INTO outbox.event (subject) VALUES ('a')", "SELECT outbox.enqueue('a', '{}'::jsonb)", "DROP TRIGGER "+e.table.Schema()+"_capture_insert ON "+goods,
		"ALTER TABLE "+goods+" DISABLE TRIGGER ALL", "ALTER TABLE "+goods+" DISABLE TRIGGER USER", "TRUNCATE "+goods)
}

// hijackers are functions and operators in a schema before pg_catalog. Each matches a call in a function of the
// outbox better than the real one does, and raises an error when it is called.
var hijackers = []string{
	"hashtextextended(text, integer)", "pg_advisory_xact_lock(bigint)", "format(text, text)", "format(text, text, bigint, bigint)", "regexp_match(text, text)",
	"pg_get_expr(pg_node_tree, oid)", "current_setting(text, boolean)", "pg_notify(text, text)", "convert_to(text, text)", "to_jsonb(record)",
	"concat(text, text)", "concat(text, text, text, text, text)", "quote_literal(text)", "regexp_replace(text, text, text, text)", "md5(text)", "length(text)",
	"left(text, integer)", "upper(text)", "cardinality(text[])", "array_to_string(text[], text)", "jsonb_build_object(text, text)",
	"octet_length(text)", "octet_length(bytea)", "jsonb_typeof(jsonb)", "pg_current_xact_id()", "gen_random_uuid()", "clock_timestamp()",
}

var hijackingOperators = []string{
	"text || bigint", "text || text", "text || integer", "bigint + bigint", "bigint * integer", "bigint - integer", "bigint < bigint", "text ~ text", "text !~ text",
	"integer <= integer", "integer < integer", "text = text", "oid = oid", "name = text", "name = name", "record *<> record", "jsonb - text",
}

func ambush(t *testing.T, e estate) string {
	t.Helper()
	evil := "evil_" + e.table.Schema()
	tabletest.Run(t, e.pool, "CREATE SCHEMA "+evil, "GRANT ALL ON SCHEMA "+evil+" TO PUBLIC")
	t.Cleanup(func() { dropSchemaNow(t, e.pool, evil) })
	for i, signature := range hijackers {
		tabletest.Run(t, e.pool, fmt.Sprintf("CREATE FUNCTION %s.%s RETURNS %s LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked: %d'; END $$",
			evil, signature, map[bool]string{true: "bytea", false: "text"}[strings.HasPrefix(signature, "convert_to")], i))
	}
	for i, operator := range hijackingOperators {
		part := strings.Fields(operator)
		tabletest.Run(t, e.pool, fmt.Sprintf("CREATE FUNCTION %s.op_%d(%s, %s) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'hijacked: %s'; END $$",
			evil, i, part[0], part[2], operator),
			fmt.Sprintf("CREATE OPERATOR %s.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %[1]s.op_%[5]d)", evil, part[1], part[0], part[2], i))
	}
	return evil
}

// No function of the outbox calls what the search path of its caller contains, nor uses its temporary tables.
func TestSearchPathHijack(t *testing.T) {
	e, owner, app, goods := market(t)
	writer, relay := e.login(t, "writer", "writer"), e.login(t, "relay", "relay")
	evil := ambush(t, e)
	const temps = "CREATE TEMP TABLE pg_class (LIKE pg_catalog.pg_class); CREATE TEMP TABLE pg_inherits (LIKE pg_catalog.pg_inherits); CREATE TEMP TABLE event (subject text); " +
		"CREATE TEMP TABLE new_rows (id int, name text); CREATE TEMP TABLE old_rows (id int, name text); INSERT INTO new_rows VALUES (666, 'x'); INSERT INTO old_rows VALUES (666, 'x'); "
	ambushed := func(pool *pgxpool.Pool, statements ...string) {
		t.Helper()
		for _, s := range statements {
			script := temps + "SET search_path = " + evil + ", pg_temp, pg_catalog; " + e.table.SQL(s)
			if _, err := pool.Exec(t.Context(), "BEGIN; "+script+"; RESET search_path; DROP TABLE pg_temp.pg_class, pg_temp.pg_inherits, pg_temp.event, pg_temp.new_rows, pg_temp.old_rows; COMMIT"); err != nil {
				t.Errorf("%s: %v", s, err)
				_, _ = pool.Exec(t.Context(), "ROLLBACK")
			}
		}
	}
	// The hijackers work: each of these calls one.
	for _, s := range []string{"SELECT convert_to('a', 'UTF8')", "SELECT hashtextextended('a', 0)", "SELECT 'a' || 1::bigint", "SELECT format('%s', 'a'::text)"} {
		if _, err := writer.Exec(t.Context(), "BEGIN; SET LOCAL search_path = "+evil+", pg_catalog; "+s); err == nil || !strings.Contains(err.Error(), "hijacked") {
			t.Errorf("%s: %v, want it hijacked", s, err)
		}
		_, _ = writer.Exec(t.Context(), "ROLLBACK")
	}

	session := tabletest.Session(t, e.table, e.pool)
	if asleep, err := session.Sleep(t.Context()); !asleep || err != nil { // so that the function wake runs too
		t.Fatalf("sleep: %v, %v", asleep, err)
	}
	ambushed(app, "INSERT INTO "+goods+" VALUES (1, 'a')", "UPDATE "+goods+" SET name = 'b'", "DELETE FROM "+goods)
	ambushed(writer, "INSERT INTO outbox.event (subject, key) VALUES ('h.1', 'k')", "SELECT outbox.enqueue('h.2', '{}')", "SELECT outbox.enqueue('h.3', '{}'::jsonb)",
		`SELECT outbox.enqueue('h.4', '\x00'::bytea)`, "SELECT outbox.token('a b')")
	ambushed(relay, "SELECT outbox.extend(1048576, 6)", "SELECT outbox.extend()")
	tabletest.Run(t, e.pool, fmt.Sprintf("ALTER TABLE %s OWNER TO %q; GRANT USAGE ON SCHEMA %s TO %[2]q", goods, e.group("owner"), strings.TrimSuffix(goods, ".goods")))
	ambushed(owner, "SELECT outbox.attach('"+goods+"', 'goods.{id}.{op}', watch => '{name}', columns => '{id,name}')", "SELECT outbox.detach('"+goods+"')")

	// The role that migrates and applies roles has the most rights.
	config := e.pool.Config().ConnConfig.Copy()
	config.RuntimeParams["search_path"] = evil + ", public" // pg_catalog comes first implicitly, but a better match wins
	careless, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer careless.Close(context.Background()) //nolint:errcheck // the test ends
	second, err := table.In(devtest.Schema(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Migrate(t.Context(), careless); err != nil {
		t.Error(err)
	}
	if _, err := roles.Apply(t.Context(), careless, e.table.Schema(), e.roles, time.Second); err != nil {
		t.Error(err)
	}

	got := tabletest.Captured(t, session)
	want := []string{"goods.1.inserted", "goods.1.updated", "goods.1.deleted", "h.1", "h.2", "h.3", "h.4"}
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " ")
	}
	tabletest.Expect(t, got, want...)
	var partitions int
	if err := e.pool.QueryRow(t.Context(), e.table.SQL("SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox.event'::regclass")).Scan(&partitions); err != nil || partitions != 8 {
		t.Errorf("%d partitions, %v; want 6 beyond the one in use, that one, and the default one", partitions, err)
	}
}
