package roles_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/doctor"
	"github.com/seed-6eff6314/outbox-relay/internal/roles"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// The relay's role may do everything that relay.Run does, and nothing else.
func TestRelayRole(t *testing.T) {
	e := newEstate(t)
	pool := e.login(t, "relay", "relay")
	tabletest.Run(t, e.pool, e.table.SQL("INSERT INTO outbox.event (subject) SELECT 'r.' || g FROM generate_series(1, 6) g"))
	tabletest.Run(t, e.pool, fmt.Sprintf("ALTER ROLE %q SET search_path = pg_catalog", e.roles.Prefix+"_relay_login")) // the documented hardening
	s := tabletest.Session(t, e.table, pool)
	stream := table.Stream{Name: "S", Created: time.Now()}
	var planned []table.Planned
	for _, step := range []struct {
		name string
		do   func(ctx context.Context) error
	}{
		{"lead", func(ctx context.Context) error { return wantTrue(s.Lead(ctx)) }},
		{"record cluster", func(ctx context.Context) (err error) { _, err = s.RecordCluster(ctx); return err }},
		{"record cluster again", func(ctx context.Context) (err error) { _, err = s.RecordCluster(ctx); return err }},
		{"sleep", func(ctx context.Context) error { return wantTrue(s.Sleep(ctx)) }},
		{"awake", s.Awake},
		{"plan", func(ctx context.Context) (err error) {
			planned, err = s.Plan(ctx, table.Page{Events: 10, Bytes: 1 << 20})
			return err
		}},
		{"park", func(ctx context.Context) error {
			return e.table.Park(ctx, pool, &planned[0], "too_large", "x", "relay")
		}},
		{"replan", func(ctx context.Context) error {
			return e.table.Replan(ctx, pool, []table.PlannedRow{{Position: planned[1].Position, RowID: planned[1].RowID}}, "relay")
		}},
		{"base", func(ctx context.Context) error {
			return e.table.AppendBase(ctx, pool, table.Base{N: 1, Stream: stream, From: 1}, "first", "relay")
		}},
		{"bases", func(ctx context.Context) (err error) { _, err = e.table.Bases(ctx, pool); return err }},
		{"receipt", func(ctx context.Context) error {
			return e.table.AppendReceipt(ctx, pool, table.Receipt{Stream: stream, Position: 7, Sequence: 7}, "relay")
		}},
		{"last receipt", func(ctx context.Context) (err error) { _, err = e.table.LastReceipt(ctx, pool, "S"); return err }},
		{"cursor", func(ctx context.Context) (err error) { _, err = e.table.Cursor(ctx, pool); return err }},
		{"load", func(ctx context.Context) error {
			loaded, err := e.table.Load(ctx, pool, 1, table.Page{Events: 10, Bytes: 1 << 20})
			if err == nil && (len(loaded) != 7 || loaded[0].Parked != "too_large" || loaded[1].Parked != table.ReasonDisplaced || !loaded[6].Again) {
				err = fmt.Errorf("loaded %+v", loaded)
			}
			return err
		}},
		{"unparked", func(ctx context.Context) (err error) {
			_, err = e.table.ExpectedPositions(ctx, pool, 1, 7, time.Time{})
			return err
		}},
		{"oldest", func(ctx context.Context) (err error) { _, err = e.table.OldestPosition(ctx, pool); return err }},
		{"status", func(ctx context.Context) (err error) { _, err = e.table.Status(ctx, pool, "S"); return err }},
		{"migrations", func(ctx context.Context) error { return e.table.CheckMigrated(ctx, pool) }},
		{"extend", func(ctx context.Context) (err error) {
			_, err = e.table.Extend(ctx, pool, table.DefaultRetention)
			return err
		}},
		{"doctor", func(ctx context.Context) error {
			f, err := doctor.In(e.table).Table(ctx, pool)
			if err == nil && (len(f.Missing) > 0 || !f.CanExtend || f.LastID != 6 || f.DefaultUsed) {
				err = fmt.Errorf("found %+v", f)
			}
			return err
		}},
	} {
		if err := step.do(t.Context()); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}

	e.extends(t, pool)
	e.sealed(t, pool)
	e.refused(t, pool, "INSERT INTO outbox.event (subject) VALUES ('a')", "SELECT outbox.enqueue('a', '{}'::jsonb)", "COPY outbox.event (subject) FROM STDIN",
		"UPDATE outbox.cluster SET settled = 0", "DELETE FROM outbox.parked", "UPDATE outbox.base SET base = 0", "SELECT * FROM outbox.event FOR UPDATE")
}

// extends creates partitions as the relay. They belong to the owner, and the arguments are bounded.
func (e estate) extends(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	var made int
	var owner string
	if err := pool.QueryRow(t.Context(), e.table.SQL("SELECT outbox.extend(1000, 64), outbox.extend(1048576, 5)")).Scan(new(int), &made); err != nil || made != 3 {
		t.Errorf("made %d, %v", made, err)
	}
	if err := e.pool.QueryRow(t.Context(), e.table.SQL("SELECT relowner::regrole FROM pg_class WHERE oid = 'outbox.event_4194305'::regclass")).Scan(&owner); err != nil || owner != e.group("owner") {
		t.Errorf("the new partition is of %s, %v", owner, err)
	}
	for _, bad := range []string{"1, 1", "999, 1", "1000, 0", "1000, 1, '0 s'", "1000, 1, NULL", "1000, 1, '1 d', 'event', 0", "1000, 65", "1000, NULL", "4294967297, 1", "-1000, -1"} {
		if _, err := pool.Exec(t.Context(), e.table.SQL("SELECT outbox.extend("+bad+")")); err == nil {
			t.Errorf("extend(%s) is taken", bad)
		}
	}
}

func wantTrue(ok bool, err error) error {
	if err == nil && !ok {
		err = fmt.Errorf("got false")
	}
	return err
}

// For a role without rights, doctor lists exactly the rights that the relay's role has.
func TestDoctorListsMissingRights(t *testing.T) {
	e := newEstate(t)
	f, err := doctor.In(e.table).Table(t.Context(), e.login(t, "poor"))
	if err != nil || f.CanExtend {
		t.Fatalf("%+v, %v", f, err)
	}
	var want []string
	for _, right := range e.rights(t) {
		var privilege, on string
		if _, err := fmt.Sscanf(right, "relay %s %s", &privilege, &on); err != nil || slices.Contains([]string{"attached", "trail", "extend", "job", "step", "trail_of_event", "trail_of_key", "trail_of_time", "replaces_parked"}, on) {
			continue // doctor reports extend separately, and a relay reads none of the others
		}
		if on == "schema" {
			want = append(want, privilege+" on schema "+e.table.Schema())
		} else {
			want = append(want, privilege+" on "+e.table.Schema()+"."+on)
		}
	}
	slices.Sort(want)
	tabletest.Expect(t, f.Missing, want...)
}

// An owner without superuser rights migrates, with roles that were created before or after, and keeps working.
func TestMigrateAsOwner(t *testing.T) {
	for _, before := range []bool{true, false} {
		t.Run(map[bool]string{true: "roles first", false: "tables first"}[before], func(t *testing.T) {
			tbl, pool := tabletest.New(t)
			tabletest.Run(t, pool, "DROP SCHEMA "+tbl.Schema()+" CASCADE")
			e := estate{tbl, pool, roles.Set{Prefix: tbl.Schema(), Own: true}}
			e.dropRoles(t)
			var database string
			if err := pool.QueryRow(t.Context(), "SELECT quote_ident(current_database())").Scan(&database); err != nil {
				t.Fatal(err)
			}
			deploy := e.login(t, "deploy")
			login := e.roles.Prefix + "_deploy_login"
			tabletest.Run(t, pool, fmt.Sprintf("ALTER ROLE %q CREATEROLE; GRANT CREATE ON DATABASE %s TO %[1]q", login, database))
			if before {
				if migrated, err := roles.Apply(t.Context(), deploy, tbl.Schema(), e.roles, time.Second); err != nil || migrated {
					t.Fatalf("apply to nothing: migrated %v, %v", migrated, err)
				}
				tabletest.Run(t, deploy, fmt.Sprintf("ALTER ROLE %q SET role = %q", login, e.group("owner")))
				deploy.Reset() // the new default applies to new sessions
			}
			if applied, err := tbl.Migrate(t.Context(), deploy); err != nil || len(applied) == 0 {
				t.Fatalf("migrated %v, %v", applied, err)
			}
			if migrated, err := roles.Apply(t.Context(), deploy, tbl.Schema(), e.roles, time.Second); err != nil || !migrated {
				t.Fatalf("migrated %v, %v", migrated, err)
			}
			var strangers []string
			err := pool.QueryRow(t.Context(), `SELECT coalesce(array_agg(name), '{}') FROM (
				SELECT relname AS name, relowner AS owner FROM pg_class WHERE relnamespace = to_regnamespace($1)
				UNION ALL SELECT proname, proowner FROM pg_proc WHERE pronamespace = to_regnamespace($1)
				UNION ALL SELECT nspname, nspowner FROM pg_namespace WHERE nspname = $1) o WHERE owner <> to_regrole($2)`,
				tbl.Schema(), e.group("owner")).Scan(&strangers)
			if err != nil || len(strangers) > 0 {
				t.Errorf("not the owner's: %v, %v", strangers, err)
			}
			e.ownerWorks(t)
		})
	}
}

// ownerWorks does what only the owner may: migrate, attach, extend, adopt, replay.
func (e estate) ownerWorks(t *testing.T) {
	t.Helper()
	owner, writer := e.login(t, "owner", "owner"), e.login(t, "writer", "writer")
	if applied, err := e.table.Migrate(t.Context(), owner); err != nil || len(applied) != 0 {
		t.Errorf("migrate again: %v, %v", applied, err)
	}
	tabletest.Run(t, owner, e.table.SQL("ALTER TABLE outbox.event ADD COLUMN later int"), e.table.SQL("INSERT INTO outbox.decision VALUES ('parked', 1, 'dropped')"),
		e.table.SQL("SELECT outbox.extend(1048576, 5)"))
	if _, err := e.table.InsertAndCommit(t.Context(), writer, event.Event{Subject: "a"}); err != nil {
		t.Error(err)
	}
	tabletest.Run(t, e.pool, e.table.SQL("INSERT INTO outbox.cluster VALUES (1, 1, 1, 0, 'first')"))
	tabletest.InTx(t, owner, func(ctx context.Context, tx pgx.Tx) {
		if a, err := e.table.Adopt(ctx, tx, "owner"); err != nil || a.Planned != 1 {
			t.Errorf("adopted %+v, %v", a, err)
		}
	})
}
