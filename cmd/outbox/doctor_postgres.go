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
	pooled          = "give a direct URL of PostgreSQL (or a pooler in session mode): --database-url, $OUTBOX_DATABASE_URL"
)

func checkPostgres(ctx context.Context, s *session, u *checkup) error {
	err := s.dialPostgres(ctx)
	if exit.IsUsage(err) {
		return err
	}
	if err != nil {
		u.unreached(err, "pg_isready; outbox config show tells which URL is in use")
		return nil
	}
	at := s.pool.Config().ConnConfig
	u.ok("reachable", "%s, database %s", net.JoinHostPort(at.Host, strconv.Itoa(int(at.Port))), at.Database)
	if server, err := doctor.In(s.table).Server(ctx, s.pool, longTransaction); err != nil {
		u.broke("server", err)
	} else {
		judgeServer(u, server)
		judgeClock(u, server.Skew)
	}
	if session, err := s.table.InspectSession(ctx, s.pool.Config().ConnConfig, notifyWait); err != nil {
		u.broke("session", err)
	} else {
		judgeSession(u, session)
	}
	checkTable(ctx, s.table, s.pool, u)
	return nil
}

// checkTable reads the catalogs before the tables, so that a role without rights learns which it lacks.
func checkTable(ctx context.Context, tbl *table.Table, pool *pgxpool.Pool, u *checkup) {
	facts, err := doctor.In(tbl).Table(ctx, pool)
	if err == nil && len(facts.Missing) == 0 {
		err = tbl.CheckMigrated(ctx, pool)
	}
	switch {
	case errors.Is(err, outbox.ErrNewerSchema):
		u.fail("schema", "run a newer outbox", "%v", err)
	case errors.Is(err, outbox.ErrNotMigrated):
		u.fail("schema", "outbox migrate up --schema "+tbl.Schema(), "%v", err)
	case err != nil:
		u.broke("schema", err)
	default:
		u.ok("schema", "%s is there", tbl.Schema())
		judgeTable(u, tbl.Schema(), facts)
		if attached, err := doctor.In(tbl).Attached(ctx, pool); err != nil {
			u.broke("attached", err)
		} else {
			judgeAttached(u, attached)
		}
	}
}

func judgeServer(u *checkup, f doctor.Server) {
	if f.VersionNumber < 140000 {
		u.fail("version", "upgrade to PostgreSQL 14 or newer", "PostgreSQL %s", f.Version)
	} else {
		u.ok("version", "PostgreSQL %s", f.Version)
	}
	if f.Standby {
		u.fail("primary", "give the URL of the primary; with several hosts add target_session_attrs=read-write", "the server is a standby, it takes no writes")
	} else {
		u.ok("primary", "the server takes writes")
	}
	for _, setting := range []struct{ name, value string }{{"fsync", f.Fsync}, {"full_page_writes", f.FullPageWrites}} {
		if setting.value == "off" {
			u.fail(setting.name, "ALTER SYSTEM SET "+setting.name+" = on; SELECT pg_reload_conf()", "off: a crash can lose or corrupt committed events")
		} else {
			u.ok(setting.name, "%s", setting.value)
		}
	}
	if f.SynchronousCommit == "off" {
		u.warn("synchronous_commit", "ALTER ROLE … RESET synchronous_commit, or set it to on", "off: a crash can lose a commit that the application believes in, and its event with it")
	} else {
		u.ok("synchronous_commit", "%s", f.SynchronousCommit)
	}
	if len(f.Long) > 0 {
		var list []string
		for _, l := range f.Long {
			list = append(list, fmt.Sprintf("pid %d, %s, %s of role %s, %s", l.PID, l.Age.Round(time.Second), orUnnamed(l.Application), l.Role, l.State))
		}
		u.warn("transactions", fmt.Sprintf("end it in the application, or: SELECT pg_terminate_backend(%d)", f.Long[0].PID), "older than %s: %s", longTransaction, strings.Join(list, "; "))
		return
	}
	seen := "none"
	if !f.SeesAll {
		seen = "none of role " + f.Role + " (others need: GRANT pg_read_all_stats TO " + f.Role + ")"
	}
	u.ok("transactions", "older than %s: %s", longTransaction, seen)
}

func orUnnamed(application string) string {
	if application == "" {
		return "unnamed application"
	}
	return application
}

func judgeSession(u *checkup, f table.SessionFacts) {
	if f.SameBackend && f.LockHeld {
		u.ok("session", "a session lock lives on between statements")
	} else {
		u.fail("session", pooled, "statements of one connection ran in different backends: a pooler in transaction mode stands between")
	}
	if f.Notified {
		u.ok("notify", "a NOTIFY from another connection arrives")
	} else {
		u.fail("notify", pooled, "a NOTIFY from another connection did not arrive within %s: the relay would only poll", notifyWait)
	}
}

func judgeTable(u *checkup, schema string, f doctor.Table) {
	if len(f.Missing) > 0 {
		u.fail("rights", "outbox roles apply --schema "+schema+" --grant-relay, and the role; or: GRANT "+strings.Join(f.Missing, "; GRANT ")+" TO the role", "missing: %s", strings.Join(f.Missing, ", "))
	} else {
		u.ok("rights", "the role may read and append")
	}
	restore := "restore the table as outbox migrate print --schema " + schema + " has it"
	if f.XidColumn == 0 || f.XidColumn > f.IDColumn {
		u.fail("columns", restore, "xid is column %d and id column %d: xid must come first, or events can be missed", f.XidColumn, f.IDColumn)
	} else {
		u.ok("columns", "xid stands before id")
	}
	if f.Cache != 1 {
		u.fail("sequence", "ALTER TABLE "+schema+".event ALTER id SET CACHE 1", "CACHE %d: ids are handed out of order, and events can be missed", f.Cache)
	} else {
		u.ok("sequence", "CACHE 1")
	}
	if !slices.Contains([]string{"O", "A"}, f.Wake) {
		u.fail("wake", "ALTER TABLE "+schema+".event ENABLE TRIGGER wake", "the trigger is %s: a relay that sleeps is woken by its poll alone", triggerState(f.Wake))
	} else {
		u.ok("wake", "the trigger is on")
	}
	if len(f.Missing) > 0 {
		return
	}
	judgePartitions(u, schema, f)
}

func judgePartitions(u *checkup, schema string, f doctor.Table) {
	const few = 1 << 18 // ids: the relay keeps more than three times as many ahead
	left := f.Bound - 1 - f.LastID
	makeThem := "outbox relay (it makes partitions once a minute while it leads), or: SELECT " + schema + ".extend()"
	switch {
	case f.DefaultUsed:
		u.fail("partitions", makeThem, "the default partition has rows: partitions were not made ahead in time; it is relayed, and emptied when all of it is old enough")
	case left < few:
		u.warn("partitions", makeThem, "%d ids left in the last partition", max(left, 0))
	case !f.CanExtend:
		u.warn("partitions", "outbox roles apply --schema "+schema+" --grant-relay, and the role; or: GRANT EXECUTE ON FUNCTION "+schema+".extend TO the role", "%d ids ahead, and this role cannot make more", left)
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
	return "on for replicas only"
}

// neverWritten is how old an attachment is whose table nobody has written to for that to be odd.
const neverWritten = 24 * time.Hour

// largestSkew is how far clocks may be apart. Echoes, retention and lags are told by them; what is published is not.
const largestSkew = 2 * time.Second

func judgeClock(u *checkup, skew time.Duration) {
	if skew.Abs() > largestSkew {
		u.warn("clock", "synchronise the clocks (chrony, systemd-timesyncd)", "%s apart from the clock of this machine: lags and retention are off by that", skew.Round(time.Millisecond))
		return
	}
	u.ok("clock", "as ours, but for %s at most", largestSkew)
}

func judgeAttached(u *checkup, all []doctor.Attached) {
	findings := 0
	for i := range all {
		f := &all[i]
		anew := fmt.Sprintf("outbox attach --table %s --subject '%s'", f.Table, f.Subject)
		switch {
		case !f.Exists:
			u.warn("attached", "DELETE FROM outbox.attached WHERE target = "+f.Table, "the table with oid %s was attached, and dropped", f.Table)
		case len(f.Lost) > 0:
			u.fail("attached", anew+", with columns that are there", "%s has no column %s, which its capture trigger names: writing to it fails", f.Table, strings.Join(f.Lost, ", "))
		case len(f.Silent) > 0:
			u.fail("attached", anew+"; or: ALTER TABLE "+f.Table+" ENABLE TRIGGER USER", "no event comes of %s on %s: the capture trigger is off or missing", strings.Join(f.Silent, ", "), f.Table)
		case f.Writes == 0 && f.Age > neverWritten:
			u.warn("attached", "outbox detach --table "+f.Table, "%s is attached since %d days, and was not written to since the statistics were reset", f.Table, int(f.Age.Hours()/24))
		default:
			continue
		}
		findings++
	}
	if findings == 0 {
		u.ok("attached", "%d tables, with triggers that fire", len(all))
	}
}
