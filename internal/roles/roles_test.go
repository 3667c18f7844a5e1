package roles_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/roles"
	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// estate is an outbox with roles of its own, named after its schema, and the pool of a superuser.
type estate struct {
	table *table.Table
	pool  *pgxpool.Pool
	roles roles.Set
}

// newEstate creates the schema, its tables and its roles. The owner role owns them.
func newEstate(t *testing.T) estate {
	t.Helper()
	tbl, pool := tabletest.New(t)
	e := estate{tbl, pool, roles.Set{Prefix: tbl.Schema(), Own: true}}
	e.dropRoles(t)
	e.apply(t)
	return e
}

func (e estate) apply(t *testing.T) {
	t.Helper()
	if migrated, err := roles.Apply(t.Context(), e.pool, e.table.Schema(), e.roles, 5*time.Second); err != nil || !migrated {
		t.Fatalf("apply: migrated %v, %v", migrated, err)
	}
}

func (e estate) group(name string) string { return e.roles.Prefix + "_" + name }

func (e estate) dropRoles(t *testing.T) {
	t.Cleanup(func() {
		for _, name := range []string{"writer", "relay", "auditor", "owner"} {
			dropRole(t, e.pool, e.group(name))
		}
	})
}

func dropRole(t *testing.T, pool *pgxpool.Pool, name string) {
	t.Helper()
	var exists bool
	err := pool.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", name).Scan(&exists)
	if err == nil && exists {
		_, err = pool.Exec(context.Background(), fmt.Sprintf("DROP OWNED BY %s CASCADE; DROP ROLE %[1]s", pgx.Identifier{name}.Sanitize()))
	}
	if err != nil {
		t.Errorf("drop role %s: %v", name, err)
	}
}

// login returns the pool of a new role that has only the rights of its groups: writer, relay, auditor or owner. A
// member of owner acts as the group.
func (e estate) login(t *testing.T, name string, groups ...string) *pgxpool.Pool {
	t.Helper()
	role := e.roles.Prefix + "_" + name + "_login"
	tabletest.Run(t, e.pool, fmt.Sprintf("CREATE ROLE %q LOGIN PASSWORD 'test'", role))
	t.Cleanup(func() { dropRole(t, e.pool, role) })
	for _, group := range groups {
		tabletest.Run(t, e.pool, fmt.Sprintf("GRANT %q TO %q", e.group(group), role))
	}
	config := e.pool.Config()
	config.ConnConfig.User, config.ConnConfig.Password = role, "test"
	if slices.Contains(groups, "owner") {
		config.ConnConfig.RuntimeParams["role"] = e.group("owner")
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// refused runs statements that must fail because a right is missing.
func (e estate) refused(t *testing.T, pool *pgxpool.Pool, statements ...string) {
	t.Helper()
	for _, s := range statements {
		_, err := pool.Exec(t.Context(), e.table.SQL(s))
		if !sqlstate.Is(err, sqlstate.InsufficientPrivilege) {
			t.Errorf("%s: %v, want insufficient_privilege", s, err)
		}
	}
}

// rights lists what the four roles and PUBLIC are granted in the schema.
func (e estate) rights(t *testing.T) []string {
	t.Helper()
	rows, err := e.pool.Query(t.Context(), `
		WITH granted AS (
			SELECT (aclexplode(nspacl)).*, 'schema' AS on_, nspowner AS owner FROM pg_namespace WHERE nspname = $1
			UNION ALL SELECT (aclexplode(relacl)).*, relname, relowner FROM pg_class WHERE relnamespace = to_regnamespace($1)
			UNION ALL SELECT (aclexplode(attacl)).*, relname || '.' || attname, relowner
			            FROM pg_attribute JOIN pg_class c ON c.oid = attrelid WHERE relnamespace = to_regnamespace($1)
			UNION ALL SELECT (aclexplode(coalesce(proacl, acldefault('f', proowner)))).*, proname, proowner
			            FROM pg_proc WHERE pronamespace = to_regnamespace($1))
		SELECT DISTINCT coalesce(substr(r.rolname, length($1) + 2), 'PUBLIC') || ' ' || privilege_type || ' ' || on_
		  FROM granted g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee <> g.owner ORDER BY 1`, e.table.Schema())
	if err != nil {
		t.Fatal(err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// The complete list of rights. Nothing is granted on partitions or sequences, and to PUBLIC only functions that are
// harmless.
func TestRolesHaveExactlyTheirRights(t *testing.T) {
	e := newEstate(t)
	var want []string
	add := func(role, privilege, on string) {
		for o := range strings.FieldsSeq(on) {
			want = append(want, role+" "+privilege+" "+o)
		}
	}
	const pure, all = "enqueue is_subject is_headers token", "event batch base receipt parked decision cluster attached migration trail partition dropped job step pause"
	add("PUBLIC", "EXECUTE", pure)
	add("writer", "EXECUTE", pure)
	add("writer", "USAGE", "schema")
	add("writer", "INSERT", "event.event_id event.subject event.key event.payload event.content_type event.headers event.resend_of")
	add("relay", "USAGE", "schema")
	add("relay", "EXECUTE", "extend partitions empty_partition drop_partition trail_of_event trail_of_key trail_of_time replaces_parked")
	add("relay", "SELECT", all)
	add("relay", "INSERT", "batch base receipt parked cluster")
	add("auditor", "USAGE", "schema")
	add("auditor", "EXECUTE", "partitions trail_of_event trail_of_key trail_of_time replaces_parked")
	add("auditor", "SELECT", all)
	slices.Sort(want)
	sorted := func() []string { list := e.rights(t); slices.Sort(list); return list }
	tabletest.Expect(t, sorted(), want...)

	// Apply revokes additional rights, and is idempotent.
	tabletest.Run(t, e.pool, e.table.SQL(fmt.Sprintf("GRANT ALL ON outbox.event, outbox.event_1 TO PUBLIC, %q; GRANT UPDATE (subject) ON outbox.event TO %[1]q", e.group("writer"))),
		e.table.SQL(fmt.Sprintf("GRANT ALL ON ALL SEQUENCES IN SCHEMA %q TO %q", e.table.Schema(), e.group("auditor"))))
	if slices.Equal(sorted(), want) {
		t.Fatal("the drift does not show")
	}
	e.apply(t)
	tabletest.Expect(t, sorted(), want...)

	// The auditor can read tables that are added to the schema later.
	var forgotten []string
	err := e.pool.QueryRow(t.Context(), `SELECT coalesce(array_agg(relname), '{}') FROM pg_class
		WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition AND NOT has_table_privilege($2, oid, 'SELECT')`,
		e.table.Schema(), e.group("auditor")).Scan(&forgotten)
	if err != nil || len(forgotten) > 0 {
		t.Errorf("the auditor cannot read %v, %v", forgotten, err)
	}
}

func TestRolesStatusAndMembers(t *testing.T) {
	e := newEstate(t)
	e.login(t, "x")
	e.login(t, "y", "auditor")
	x := e.roles.Prefix + "_x_login"
	e.roles.Writers, e.roles.Auditors = []string{x}, []string{x}
	e.apply(t)
	list, err := roles.Status(t.Context(), e.pool, e.table.Schema(), e.roles.Prefix)
	want := fmt.Sprintf("[{%s true [%s]} {%s true []} {%s true [%s %s]} {%s true []}]", e.group("writer"), x, e.group("relay"),
		e.group("auditor"), x, e.roles.Prefix+"_y_login", e.group("owner"))
	if err != nil || fmt.Sprint(list) != want {
		t.Errorf("status %v, %v; want %s", list, err, want)
	}
	if list, err = roles.Status(t.Context(), e.pool, e.table.Schema(), "none-such"); err != nil || list[0].Exists || list[0].Name != "none-such_writer" {
		t.Errorf("status of roles that are not there: %v, %v", list, err)
	}
	for _, bad := range []roles.Set{{Prefix: `a"b`}, {Prefix: "a$$"}, {Prefix: "pg"}, {Prefix: strings.Repeat("x", 49)}, {Writers: []string{`a"b`}}, {Owners: []string{""}}} {
		if _, err := roles.SQL(e.table.Schema(), bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// If the connected role may not create roles or grant rights, the error names who may, and nothing is changed.
func TestRolesNeedRights(t *testing.T) {
	e := newEstate(t)
	poor, keeper := e.login(t, "poor"), e.login(t, "keeper")
	tabletest.Run(t, e.pool, fmt.Sprintf("ALTER ROLE %q CREATEROLE", e.roles.Prefix+"_keeper_login"))
	other := roles.Set{Prefix: e.roles.Prefix + "-2"}
	if _, err := roles.Apply(t.Context(), poor, e.table.Schema(), other, time.Second); !errors.Is(err, roles.ErrRights) || !strings.Contains(err.Error(), "outbox roles print") {
		t.Errorf("without CREATEROLE: %v", err)
	}
	if _, err := roles.Apply(t.Context(), keeper, e.table.Schema(), e.roles, time.Second); !errors.Is(err, roles.ErrRights) || !strings.Contains(err.Error(), "does not own") {
		t.Errorf("not the owner: %v", err)
	}
	// The owner needs no CREATEROLE if the roles exist.
	if _, err := roles.Apply(t.Context(), e.login(t, "deploy", "owner"), e.table.Schema(), e.roles, time.Second); err != nil {
		t.Errorf("the owner: %v", err)
	}
}

// The files run unmodified in psql for the default names, and so does what SQL returns for names that need quotes.
func TestRolesRunInPsql(t *testing.T) {
	server := devtest.Postgres(t)
	psql, err := server.Bin("psql")
	if err != nil {
		t.Fatal(err)
	}
	odd, err := table.In(devtest.Schema(t) + "-Q$u")
	if err != nil {
		t.Fatal(err)
	}
	set := roles.Set{Prefix: "R-" + strings.TrimSuffix(odd.Schema(), "-Q$u"), Own: true}
	script, err := roles.SQL(odd.Schema(), set)
	if err != nil {
		t.Fatal(err)
	}
	apart := strings.NewReplacer("BEGIN;\n", "", "COMMIT;\n", "").Replace(script)
	var migrations string
	for _, m := range text.Migrations() {
		migrations += fmt.Sprintf("\\i migrations/%03d_%s.sql\n", m.Version, m.Name)
	}
	for name, script := range map[string]string{
		"files":  "BEGIN; CREATE SCHEMA outbox;\n" + migrations + "\\i queries/migration_table.sql\n\\i roles.sql\n\\i roles_own.sql\n\\i roles.sql\nROLLBACK;",
		"before": "BEGIN;" + apart + "ROLLBACK;",
		"after":  "BEGIN;" + strings.NewReplacer("BEGIN;\n", "", "COMMIT;\n", "").Replace(odd.MigrationSQL()) + apart + apart + "ROLLBACK;",
	} {
		cmd := exec.CommandContext(t.Context(), psql, "-v", "ON_ERROR_STOP=1", "-q", server.URL())
		cmd.Dir, cmd.Stdin = "../../sql", strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
		}
	}
}
