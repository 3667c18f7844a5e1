package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/doctor"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

const (
	longTransaction = 5 * time.Minute
	notifyWait      = 3 * time.Second
	pooled          = "set a URL that leads directly to PostgreSQL, or to a pooler in session mode: --database-url, $OUTBOX_DATABASE_URL"
)

func inspectPostgres(ctx context.Context, s *session, u *checkup) error {
	err := s.dialPostgres(ctx)
	if exit.IsUsage(err) {
		return err
	}
	if err != nil {
		u.unreached(err, "pg_isready; to see the URL in use, run: outbox config show")
		return nil
	}
	at := s.pool.Config().ConnConfig
	u.ok("reachable", "%s, database %s", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))), at.Database)
	if server, err := doctor.In(s.table).Server(ctx, s.pool, longTransaction); err != nil {
		u.broke("server", err)
	} else {
		checkServer(u, server)
		checkClock(u, server.Skew)
	}
	if session, err := s.table.InspectSession(ctx, s.pool.Config().ConnConfig, notifyWait); err != nil {
		u.broke("session", err)
	} else {
		checkSession(u, session)
	}
	inspectTable(ctx, s.table, s.pool, u)
	return nil
}

// inspectTable reads the catalogs before the tables, so that doctor can name the rights that a role lacks.
func inspectTable(ctx context.Context, tbl *table.Table, pool *pgxpool.Pool, u *checkup) {
	facts, err := doctor.In(tbl).Table(ctx, pool)
	if err == nil && len(facts.Missing) == 0 {
		err = tbl.CheckMigrated(ctx, pool)
	}
	switch {
	case errors.Is(err, outbox.ErrNewerSchema):
		u.fail("schema", "install a newer outbox", "%v", err)
	case errors.Is(err, outbox.ErrNotMigrated):
		u.fail("schema", "outbox migrate up --schema "+tbl.Schema(), "%v", err)
	case err != nil:
		u.broke("schema", err)
	default:
		u.ok("schema", "%s is up to date", tbl.Schema())
		checkTable(u, tbl.Schema(), facts)
		if attached, err := doctor.In(tbl).Attached(ctx, pool); err != nil {
			u.broke("attached", err)
		} else {
			checkAttached(u, attached)
		}
	}
}

func checkServer(u *checkup, f doctor.Server) {
	if f.VersionNumber < 140000 {
		u.fail("version", "upgrade to PostgreSQL 14 or newer", "PostgreSQL %s", f.Version)
	} else {
		u.ok("version", "PostgreSQL %s", f.Version)
	}
	if f.Standby {
		u.fail("primary", "set the URL of the primary; with several hosts, add target_session_attrs=read-write", "the server is a standby and accepts no writes")
	} else {
		u.ok("primary", "the server accepts writes")
	}
	for _, setting := range []struct{ name, value string }{{"fsync", f.Fsync}, {"full_page_writes", f.FullPageWrites}} {
		if setting.value == "off" {
			u.fail(setting.name, "ALTER SYSTEM SET "+setting.name+" = on; SELECT pg_reload_conf()", "off: a crash can lose or corrupt committed events")
		} else {
			u.ok(setting.name, "%s", setting.value)
		}
	}
	if f.SynchronousCommit == "off" {
		u.warn("synchronous_commit", "ALTER ROLE … RESET synchronous_commit, or set it to on", "off: a crash can lose a commit that the application was told about, with its event")
	} else {
		u.ok("synchronous_commit", "%s", f.SynchronousCommit)
	}
	if len(f.Long) > 0 {
		var list []string
		for _, l := range f.Long {
			list = append(list, fmt.Sprintf("pid %d, %s, %s of role %s, %s", l.PID, l.Age.Round(time.Second), orUnnamed(l.Application), l.Role, l.State))
		}
		u.warn("transactions", fmt.Sprintf("end it in the application, or run: SELECT pg_terminate_backend(%d)", f.Long[0].PID), "older than %s: %s", longTransaction, strings.Join(list, "; "))
		return
	}
	seen := "none"
	if !f.SeesAll {
		seen = "none of role " + f.Role + " (to see those of others: GRANT pg_read_all_stats TO " + f.Role + ")"
	}
	u.ok("transactions", "older than %s: %s", longTransaction, seen)
}

func orUnnamed(application string) string {
	if application == "" {
		return "unnamed application"
	}
	return application
}

func checkSession(u *checkup, f table.SessionFacts) {
	if f.SameBackend && f.LockHeld {
		u.ok("session", "a session lock survives between statements")
	} else {
		u.fail("session", pooled, "statements of one connection ran in different backends: the connection goes through a pooler in transaction mode")
	}
	if f.Notified {
		u.ok("notify", "a NOTIFY from another connection arrives")
	} else {
		u.fail("notify", pooled, "a NOTIFY from another connection did not arrive within %s: the relay could only poll", notifyWait)
	}
}

func checkTable(u *checkup, schema string, f doctor.Table) {
	if len(f.Missing) > 0 {
		u.fail("rights", "outbox roles apply --schema "+schema+" --grant-relay <role>; or: GRANT "+strings.Join(f.Missing, "; GRANT ")+" TO <role>", "missing: %s", strings.Join(f.Missing, ", "))
	} else {
		u.ok("rights", "the role may read and append")
	}
	restore := "restore the table to the definition in: outbox migrate print --schema " + schema
	if f.XidColumn == 0 || f.XidColumn > f.IDColumn {
		u.fail("columns", restore, "xid is column %d and id is column %d: xid must be before id, or the relay can miss events", f.XidColumn, f.IDColumn)
	} else {
		u.ok("columns", "xid is before id")
	}
	if f.Cache != 1 {
		u.fail("sequence", "ALTER TABLE "+schema+".event ALTER id SET CACHE 1", "CACHE %d: ids are assigned out of order, so the relay can miss events", f.Cache)
	} else {
		u.ok("sequence", "CACHE 1")
	}
	if !slices.Contains([]string{"O", "A"}, f.Wake) {
		u.fail("wake", "ALTER TABLE "+schema+".event ENABLE TRIGGER wake", "the trigger is %s: a sleeping relay wakes only at its next poll", triggerState(f.Wake))
	} else {
		u.ok("wake", "the trigger is on")
	}
	if len(f.Missing) > 0 {
		return
	}
	checkPartitions(u, schema, f)
}

func checkPartitions(u *checkup, schema string, f doctor.Table) {
	const few = 1 << 18 // ids: the relay keeps more than three times as many ahead
	left := f.Bound - 1 - f.LastID
	makeThem := "outbox relay (the leader creates partitions once a minute), or: SELECT " + schema + ".extend()"
	switch {
	case f.DefaultUsed:
		u.fail("partitions", makeThem, "the default partition has rows because partitions were not created in time; the relay publishes them, and empties it when all of them are old enough")
	case left < few:
		u.warn("partitions", makeThem, "%d ids left in the last partition", max(left, 0))
	case !f.CanExtend:
		u.warn("partitions", "outbox roles apply --schema "+schema+" --grant-relay <role>; or: GRANT EXECUTE ON FUNCTION "+schema+".extend TO <role>", "%d ids ahead, and this role cannot create more partitions", left)
	default:
		u.ok("partitions", "%d ids ahead", left)
	}
}

func triggerState(enabled string) string {
	switch enabled {
	case "":
		return "missing"
	case "D":
		return "off"
	}
	return "on for replication only"
}

// neverWritten is the age from which on an attached table without a single write is a finding.
const neverWritten = 24 * time.Hour

// largestSkew bounds the difference of two clocks. Echoes, retention and lags depend on clocks; the order and number of
// published events do not.
const largestSkew = 2 * time.Second

func checkClock(u *checkup, skew time.Duration) {
	if skew.Abs() > largestSkew {
		u.warn("clock", "synchronize the clocks (chrony, systemd-timesyncd)", "%s from the clock of this machine: lags and retention are wrong by that", skew.Round(time.Millisecond))
		return
	}
	u.ok("clock", "within %s of the clock of this machine", largestSkew)
}

func checkAttached(u *checkup, all []doctor.Attached) {
	findings := 0
	for i := range all {
		f := &all[i]
		anew := fmt.Sprintf("outbox attach --table %s --subject '%s'", f.Table, f.Subject)
		switch {
		case !f.Exists:
			u.warn("attached", "DELETE FROM outbox.attached WHERE target = "+f.Table, "the table with oid %s was attached and then dropped", f.Table)
		case len(f.Lost) > 0:
			u.fail("attached", anew+", with columns that exist", "%s has no column %s, which its capture trigger reads: every write to the table fails", f.Table, strings.Join(f.Lost, ", "))
		case len(f.Silent) > 0:
			u.fail("attached", anew+"; or: ALTER TABLE "+f.Table+" ENABLE TRIGGER USER", "%s on %s creates no event: the capture trigger is off or missing", strings.Join(f.Silent, ", "), f.Table)
		case f.Writes == 0 && f.Age > neverWritten:
			u.warn("attached", "outbox detach --table "+f.Table, "%s was attached %d days ago and has had no write since the statistics were reset", f.Table, int(f.Age.Hours()/24))
		default:
			continue
		}
		findings++
	}
	if findings == 0 {
		u.ok("attached", "%d tables, with enabled triggers", len(all))
	}
}
