package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/doctor"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Each fault that a script cannot cause is one finding with evidence and a repair, and sound facts are none.
func TestChecks(t *testing.T) {
	server := doctor.Server{VersionNumber: 140000, Version: "14.0", Fsync: "on", FullPageWrites: "on", SynchronousCommit: "on", SeesAll: true}
	tbl := doctor.Table{XidColumn: 1, IDColumn: 2, Cache: 1, Wake: "O", CanExtend: true, LastID: 5, Bound: 1 << 23}
	session := table.SessionFacts{SameBackend: true, LockHeld: true, Notified: true}
	master := redisFacts{"role": "master", "maxmemory": "1000", "used_memory": "950", "maxmemory_policy": "allkeys-lru"}
	stream := jetstream.StreamConfig{Name: "S", Storage: jetstream.FileStorage, Duplicates: shortestWindow, MaxMsgSize: -1}
	for _, c := range []struct {
		name, check, state string // empty: no finding
		evidence           string
		look               func(*checkup)
	}{
		{"sound server", "", "", "", func(u *checkup) { checkServer(u, server) }},
		{"old server", "version", stateFail, "13.9", func(u *checkup) { f := server; f.VersionNumber, f.Version = 130009, "13.9"; checkServer(u, f) }},
		{"standby", "primary", stateFail, "standby", func(u *checkup) { f := server; f.Standby = true; checkServer(u, f) }},
		{"asynchronous", "synchronous_commit", stateWarn, "off", func(u *checkup) { f := server; f.SynchronousCommit = "off"; checkServer(u, f) }},
		{"long transaction", "transactions", stateWarn, "pid 7, 1h0m0s, report of role app, idle in transaction", func(u *checkup) {
			f := server
			f.Long = []doctor.LongTransaction{{PID: 7, Role: "app", Application: "report", State: "idle in transaction", Age: time.Hour}}
			checkServer(u, f)
		}},
		{"sound session", "", "", "", func(u *checkup) { checkSession(u, session) }},
		{"pooler", "session", stateFail, "pooler", func(u *checkup) { f := session; f.SameBackend = false; checkSession(u, f) }},
		{"lock lost", "session", stateFail, "pooler", func(u *checkup) { f := session; f.LockHeld = false; checkSession(u, f) }},
		{"sound table", "", "", "", func(u *checkup) { checkTable(u, "outbox", tbl) }},
		{"columns swapped", "columns", stateFail, "xid is column 2", func(u *checkup) { f := tbl; f.XidColumn, f.IDColumn = 2, 1; checkTable(u, "outbox", f) }},
		{"replica trigger", "wake", stateFail, "replication only", func(u *checkup) { f := tbl; f.Wake = "R"; checkTable(u, "outbox", f) }},
		{"few ids", "partitions", stateWarn, "10 ids left", func(u *checkup) { f := tbl; f.LastID, f.Bound = 100, 111; checkTable(u, "outbox", f) }},
		{"cannot extend", "partitions", stateWarn, "cannot create more partitions", func(u *checkup) { f := tbl; f.CanExtend = false; checkTable(u, "outbox", f) }},
		{"clock behind", "clock", stateWarn, "-3s from the clock", func(u *checkup) { checkClock(u, -3*time.Second) }},
		{"clock", "", "", "", func(u *checkup) { checkClock(u, time.Second) }},
		{"no attached tables", "", "", "", func(u *checkup) { checkAttached(u, nil) }},
		{"dropped table", "attached", stateWarn, "16384 was attached and then dropped", func(u *checkup) { checkAttached(u, []doctor.Attached{{Table: "16384"}}) }},
		{"lost column", "attached", stateFail, "no column a, b,", func(u *checkup) {
			checkAttached(u, []doctor.Attached{{Table: "users", Exists: true, Lost: []string{"a", "b"}}})
		}},
		{"silent trigger", "attached", stateFail, "update on users creates no event", func(u *checkup) {
			checkAttached(u, []doctor.Attached{{Table: "users", Exists: true, Silent: []string{"update"}}})
		}},
		{"never written", "attached", stateWarn, "attached 2 days ago", func(u *checkup) {
			checkAttached(u, []doctor.Attached{{Table: "users", Exists: true, Age: 49 * time.Hour}})
		}},
		{"written today", "", "", "", func(u *checkup) {
			checkAttached(u, []doctor.Attached{{Table: "users", Exists: true, Age: time.Hour}, {Table: "b", Exists: true, Age: 49 * time.Hour, Writes: 1}})
		}},
		{"idle rule", "used", stateWarn, "none of the last 10 events matches rule 1", func(u *checkup) { checkRules(u, 2, map[int]bool{0: true}, nil, 10) }},
		{"no events", "", "", "", func(u *checkup) { checkRules(u, 2, nil, nil, 0) }},
		{"strange subjects", "subjects", stateWarn, "a.*, b.*, c.*, d.*, e.* and 1 more", func(u *checkup) {
			checkRules(u, 1, map[int]bool{0: true}, map[string]int{"a.*": 1, "b.*": 1, "c.*": 1, "d.*": 1, "e.*": 1, "f.*": 1}, 10)
		}},
		{"sync not known", "", "", "", func(u *checkup) { checkSync(u, 0, errNoMonitor, 1) }},
		{"sync every 2 min", "sync_interval", stateWarn, "2m0s and one replica", func(u *checkup) { checkSync(u, 2*time.Minute, nil, 1) }},
		{"sync with replicas", "", "", "", func(u *checkup) { checkSync(u, 2*time.Minute, nil, 3) }},
		{"sync always", "", "", "", func(u *checkup) { checkSync(u, 0, nil, 1) }},
		{"short window for slow acks", "duplicates", stateWarn, "shorter than 4m0s", func(u *checkup) { c := stream; checkStream(u, &c, true, time.Minute) }},
		{"sound redis", "", "", "", func(u *checkup) { checkRedis(u, master) }},
		{"replica", "role", stateFail, "slave", func(u *checkup) { checkRedis(u, redisFacts{"role": "slave"}) }},
		{"full redis", "memory", stateWarn, "950 of 1000", func(u *checkup) {
			checkRedis(u, redisFacts{"role": "master", "maxmemory": "1000", "used_memory": "950", "maxmemory_policy": "noeviction"})
		}},
		{"sound stream", "", "", "", func(u *checkup) { c := stream; checkStream(u, &c, true, 5*time.Second) }},
		{"no acks", "acks", stateFail, "no_ack", func(u *checkup) { c := stream; c.NoAck = true; checkStream(u, &c, true, 5*time.Second) }},
		{"sealed", "acks", stateFail, "sealed", func(u *checkup) { c := stream; c.Sealed = true; checkStream(u, &c, true, 5*time.Second) }},
		{"mirror", "acks", stateFail, "mirror of M", func(u *checkup) {
			c := stream
			c.Mirror = &jetstream.StreamSource{Name: "M"}
			checkStream(u, &c, true, 5*time.Second)
		}},
		{"sources", "writers", stateWarn, "only writer", func(u *checkup) {
			c := stream
			c.Sources = []*jetstream.StreamSource{{}}
			checkStream(u, &c, true, 5*time.Second)
		}},
		{"shared sources", "", "", "", func(u *checkup) {
			c := stream
			c.Sources = []*jetstream.StreamSource{{}}
			checkStream(u, &c, false, 5*time.Second)
		}},
		{"discard new", "retention", stateWarn, "discard new", func(u *checkup) {
			c := stream
			c.Discard = jetstream.DiscardNew
			checkStream(u, &c, true, 5*time.Second)
		}},
	} {
		u := &checkup{server: "x"}
		c.look(u)
		var found []check
		for _, line := range u.checks {
			if line.State != stateOK {
				found = append(found, line)
			}
			if (line.State == stateOK) != (line.Repair == "") || line.Evidence == "" {
				t.Errorf("%s: %+v: want a repair for a finding and none for a passed check", c.name, line)
			}
		}
		switch {
		case c.check == "" && len(found) == 0:
		case c.check == "" || len(found) != 1 || found[0].Check != c.check || found[0].State != c.state || !strings.Contains(found[0].Evidence, c.evidence):
			t.Errorf("%s: found %+v, want %s of %s: …%s…", c.name, found, c.state, c.check, c.evidence)
		}
	}
}
