package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// deployed are the users of deploy/nats/outbox.conf, with passwords for these tests.
var deployed = map[string]string{"outbox_relay": "relay-pw", "outbox_invalidate": "invalidate-pw", "outbox_watch": "watch-pw", "outbox_dead": "dead-pw", "outbox_audit": "audit-pw", "outbox_operate": "operate-pw"}

const deployedRules = `rules:
  - {subject: "users.*.updated", keys: ["user:$1:profile"]}
  - {subject: "orders.*", keys: ["order:${payload.id}"]}
`

// presentPasswords sets the variables that deploy/nats/outbox.conf names, before any test: a server in this process
// reads them.
func presentPasswords() {
	for user, password := range deployed {
		os.Setenv(strings.ToUpper(user)+"_PASSWORD", password)
	}
}

// A site runs the files of deploy unchanged.
type site struct {
	program
	t     *testing.T
	url   string
	conn  *pgx.Conn
	admin *redis.Client
}

func newSite(t *testing.T) *site {
	t.Helper()
	broker := devtest.OwnNATS(t, devstack.NATSConfig{ConfigFile: "../../deploy/nats/outbox.conf"})
	cache := aclRedis(t)
	pg := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	conn, err := pgx.Connect(t.Context(), pg.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(t.Context()) })
	s := &site{t: t, url: broker.URL(), conn: conn, admin: redisAt(t, cache)}
	s.program = program{t, []string{"OUTBOX_DATABASE_URL=" + pg.URL(), "OUTBOX_NATS_URL=" + broker.URL(), "OUTBOX_REDIS_URL=" + cache,
		"OUTBOX_REDIS_USER=outbox_invalidate", "OUTBOX_REDIS_PASSWORD_FILE=" + s.file("redis", "redis-pw"), "OUTBOX_INVALIDATE_RULES=" + s.file("rules.yaml", deployedRules)}}
	return s
}

func (s *site) file(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// as is the arguments of a command that comes to NATS as one of the users.
func (s *site) as(user string, args ...string) []string {
	return append(args, "--nats-user", user, "--nats-password-file", s.file("nats", deployed[user]))
}

func (s *site) sql(statement string, args ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.t.Context(), statement, args...); err != nil {
		s.t.Fatal(err)
	}
}

// until waits for a condition on the status, which the permitted user reads.
func (s *site) until(what string, holds func(*statusJSON) bool) {
	s.t.Helper()
	args := s.as("outbox_watch", "status", "-o", "json")
	devtest.Eventually(s.t, patience, what, func() error {
		_, out := s.run(args...)
		var status statusJSON
		if err := json.Unmarshal([]byte(out), &status); err != nil || !holds(&status) {
			return errors.New(out)
		}
		return nil
	})
}

// With the users and the rights of deploy, everything works: making the streams, publishing, parking, resuming by
// reading the stream, invalidating, dead letters. And nobody can do more than that.
func TestDeployedPermissions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if code, out := s.run("migrate", "up"); code != 0 {
		t.Fatal(out)
	}
	for i := range 5 {
		s.sql("SELECT outbox.enqueue($1, '{}')", fmt.Sprintf("users.%d.updated", i))
	}
	s.sql("SELECT outbox.enqueue('elsewhere.1', '{}')") // the stream does not cover it
	for _, key := range []string{"user:1:profile", "order:7", "user:99:profile"} {
		if err := s.admin.Set(t.Context(), key, "old", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	relay := s.as("outbox_relay", "relay", "--subjects", "users.>,orders.>")
	first := s.command(relay...)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	s.until("published and parked", func(st *statusJSON) bool { return st.Published == 5 && st.Parked == 1 && st.Stream.LastSeq == 6 })
	if err := errors.Join(first.Process.Kill(), onlyExit(first.Wait())); err != nil {
		t.Fatal(err)
	}
	// Without receipts the next relay has to read the whole stream, through a consumer.
	s.sql("TRUNCATE outbox.receipt")
	s.sql("SELECT outbox.enqueue('orders.1', '{\"id\": 7}')")
	s.sql("SELECT outbox.enqueue('orders.2', '{}')") // poison: its rule wants an id
	s.background(relay...)
	s.background(s.as("outbox_invalidate", "invalidate")...)
	s.until("all published once and processed", func(st *statusJSON) bool {
		return st.Pending == 0 && st.Stream.LastSeq == 8 && worked(st, "invalidate-now", "invalidate-echo-5s")
	})
	left, err := s.admin.Keys(t.Context(), "*").Result()
	if err != nil || len(left) != 1 || left[0] != "user:99:profile" {
		t.Errorf("keys left: %v, %v", left, err)
	}
	if n := s.deadLetters(); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
	s.letter()
	if n := s.deadLetters(); n != 0 {
		t.Errorf("%d dead letters, want none", n)
	}
	s.operates()
	s.denials()
	s.pushes()
	s.until("nothing was changed", func(st *statusJSON) bool { return st.Stream.LastSeq == 8 && st.Stream.Messages == 8 })
	if code, out := s.run(s.as("outbox_watch", "doctor", "--skip", "postgres,redis", "--subjects", "users.>,orders.>")...); code != 0 && code != exit.Findings || !strings.Contains(out, "outbox: 0 failures") {
		t.Errorf("doctor ended with %d: %s", code, out)
	}
}

// worked reports whether these consumers have nothing left to do.
func worked(st *statusJSON, names ...string) bool {
	done := 0
	for _, c := range st.Consumers {
		if slices.Contains(names, c.Name) && c.Pending+uint64(c.AckPending) == 0 {
			done++
		}
	}
	return done == len(names)
}

// onlyExit returns err unless it only reports that the process was killed.
func onlyExit(err error) error {
	if err != nil && err.Error() == "signal: killed" {
		return nil
	}
	return err
}

func (s *site) deadLetters() (n uint64) {
	s.t.Helper()
	nc := s.connect("outbox_watch", "_INBOX_outbox_status")
	reply, err := nc.Request("$JS.API.STREAM.INFO.OUTBOX_DEAD", nil, patience)
	var info struct{ State struct{ Messages uint64 } }
	if err == nil {
		err = json.Unmarshal(reply.Data, &info)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return info.State.Messages
}

// operates runs the commands that have users of their own.
func (s *site) operates() {
	s.t.Helper()
	for _, c := range []struct {
		user string
		args []string
		code int
	}{
		{"outbox_watch", []string{"check"}, -1},
		{"outbox_audit", []string{"audit", "-o", "json"}, exit.Findings}, // the parked one
		{"outbox_audit", []string{"trace", "--cache-key", "user:1:profile"}, 0},
		{"outbox_operate", []string{"pause", "--consumers", "--reason", "a test"}, 0},
		{"outbox_operate", []string{"resume", "--consumers"}, 0},
		{"outbox_operate", []string{"replay", "--after-consumer", "invalidate-now", "--dry-run"}, 0},
	} {
		code, out := s.run(s.as(c.user, c.args...)...)
		if c.code >= 0 && code != c.code || code == exit.Unavailable || strings.Contains(strings.ToLower(out), "permission") {
			s.t.Errorf("%s as %s ended with %d: %s", c.args[0], c.user, code, out)
		}
	}
}

// letter reads the single dead letter and deletes it, as outbox dead does.
func (s *site) letter() {
	s.t.Helper()
	js, err := jetstream.New(s.connect("outbox_dead", "_INBOX_outbox_dead"))
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := js.Stream(s.t.Context(), "OUTBOX_DEAD")
	if err != nil {
		s.t.Fatal(err)
	}
	cons, err := stream.CreateConsumer(s.t.Context(), jetstream.ConsumerConfig{FilterSubject: "_OUTBOX.dead.OUTBOX", AckPolicy: jetstream.AckNonePolicy})
	if err != nil {
		s.t.Fatal(err)
	}
	msg, err := cons.Next(jetstream.FetchMaxWait(patience))
	if err != nil {
		s.t.Fatal(err)
	}
	meta, err := msg.Metadata()
	if err == nil {
		_, err = stream.GetMsg(s.t.Context(), meta.Sequence.Stream)
	}
	if err == nil {
		err = stream.DeleteMsg(s.t.Context(), meta.Sequence.Stream)
	}
	if err := errors.Join(err, stream.DeleteConsumer(s.t.Context(), cons.CachedInfo().Name)); err != nil {
		s.t.Error(err)
	}
}

func (s *site) connect(user, inbox string) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.url, nats.UserInfo(user, deployed[user]), nats.CustomInboxPrefix(inbox), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// denials tries each operation that a user must not be able to perform.
func (s *site) denials() {
	s.t.Helper()
	if nc, err := nats.Connect(s.url); !errors.Is(err, nats.ErrAuthorization) {
		nc.Close()
		s.t.Errorf("a client without a user: %v", err)
	}
	api := func(names ...string) (out []string) {
		for _, name := range names {
			out = append(out, "$JS.API."+name)
		}
		return out
	}
	nobody := api("STREAM.PURGE.OUTBOX", "STREAM.DELETE.OUTBOX", "STREAM.UPDATE.OUTBOX", "STREAM.MSG.DELETE.OUTBOX", "STREAM.SNAPSHOT.OUTBOX",
		"STREAM.RESTORE.OUTBOX", "STREAM.CREATE.OTHER", "STREAM.PURGE.OUTBOX_DEAD", "STREAM.LIST", "CONSUMER.DURABLE.CREATE.OUTBOX.x", "CONSUMER.CREATE.OUTBOX",
		"CONSUMER.DELETE.OUTBOX.invalidate-now", "CONSUMER.PAUSE.OUTBOX.invalidate-now", "DIRECT.GET.OUTBOX", "CONSUMER.CREATE.OUTBOX_DEAD.x")
	but := func(names ...string) []string { // except for this user
		return slices.DeleteFunc(slices.Clone(nobody), func(subject string) bool {
			return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(subject, "$JS.API."+name) })
		})
	}
	events := []string{"users.1.updated", "orders.1", "_OUTBOX.parked.OUTBOX"}
	reading := api("STREAM.MSG.GET.OUTBOX", "STREAM.MSG.GET.OUTBOX_DEAD", "CONSUMER.CREATE.OUTBOX.x", "CONSUMER.CREATE.OUTBOX.x.users.>", "CONSUMER.MSG.NEXT.OUTBOX.x", "CONSUMER.DELETE.OUTBOX.x")
	listening := []string{">", "users.>", "orders.1", "_OUTBOX.>", "$JS.>", "_INBOX.>", "$JS.ACK.>", "$SYS.>"}
	for user, c := range map[string]struct {
		inbox     string
		publish   []string
		subscribe []string
	}{
		"outbox_relay": {"_INBOX_outbox_relay", append([]string{"elsewhere.1", "_OUTBOX.dead.OUTBOX", "_INBOX_outbox_invalidate.x", "$JS.ACK.OUTBOX.invalidate-now.1.1.1.1.0", "$JS.API.CONSUMER.CREATE.OUTBOX.invalidate-now",
			"$JS.API.CONSUMER.CREATE.OUTBOX.x.users.>", "$JS.API.CONSUMER.MSG.NEXT.OUTBOX.invalidate-now", "$JS.API.STREAM.MSG.GET.OUTBOX_DEAD"}, nobody...), append([]string{"_INBOX_outbox_invalidate.>", "_INBOX_outbox_status.>"}, listening...)},
		"outbox_invalidate": {"_INBOX_outbox_invalidate", append(append([]string{"_INBOX_outbox_relay.x", "$JS.ACK.OUTBOX.other.1.1.1.1.0", "$JS.API.STREAM.CREATE.OUTBOX", "$JS.API.CONSUMER.DELETE.OUTBOX.invalidate-echo-5s"}, append(events, reading...)...), nobody...),
			append([]string{"_INBOX_outbox_relay.>", "_INBOX_outbox_status.>"}, listening...)},
		"outbox_watch": {"_INBOX_outbox_doctor", append(append([]string{"_INBOX_outbox_relay.x", "_OUTBOX.dead.OUTBOX", "$JS.API.STREAM.CREATE.OUTBOX", "$JS.API.CONSUMER.MSG.NEXT.OUTBOX.invalidate-now"}, append(events, reading...)...), nobody...),
			append([]string{"_INBOX_outbox_relay.>", "_INBOX_outbox_dead.>"}, listening...)},
		"outbox_audit": {"_INBOX_outbox_audit", append(append([]string{"_INBOX_outbox_relay.x", "_OUTBOX.dead.OUTBOX", "$JS.API.STREAM.CREATE.OUTBOX", "$JS.API.CONSUMER.MSG.NEXT.OUTBOX.invalidate-now",
			"$JS.API.CONSUMER.CREATE.OUTBOX.x.users.>", "$JS.API.STREAM.MSG.DELETE.OUTBOX_DEAD"}, events...), but("DIRECT.GET")...), append([]string{"_INBOX_outbox_relay.>", "_INBOX_outbox_dead.>"}, listening...)},
		"outbox_operate": {"_INBOX_outbox_pause", append(append([]string{"_INBOX_outbox_relay.x", "_OUTBOX.dead.OUTBOX", "$JS.API.STREAM.CREATE.OUTBOX", "$JS.API.CONSUMER.MSG.NEXT.OUTBOX.invalidate-now",
			"$JS.API.CONSUMER.CREATE.OUTBOX.x", "$JS.API.STREAM.MSG.GET.OUTBOX_DEAD"}, events...), but("CONSUMER.PAUSE", "DIRECT.GET")...), append([]string{"_INBOX_outbox_relay.>", "_INBOX_outbox_dead.>"}, listening...)},
		"outbox_dead": {"_INBOX_outbox_dead", append(append([]string{"_OUTBOX.dead.OUTBOX", "$JS.API.STREAM.INFO.OUTBOX", "$JS.API.STREAM.MSG.GET.OUTBOX", "$JS.API.CONSUMER.CREATE.OUTBOX.x", "$JS.API.CONSUMER.MSG.NEXT.OUTBOX.invalidate-now"}, events...), nobody...),
			append([]string{"_INBOX_outbox_relay.>", "_INBOX_outbox_status.>"}, listening...)},
	} {
		nc := s.connect(user, c.inbox)
		for _, subject := range c.publish {
			if err := nc.Publish(subject, []byte("{}")); err != nil {
				s.t.Fatal(err)
			}
			s.denied(nc, user, "Publish", subject)
		}
		for _, subject := range c.subscribe {
			if _, err := nc.SubscribeSync(subject); err != nil {
				s.t.Fatal(err)
			}
			s.denied(nc, user, "Subscription", subject)
		}
	}
}

// pushes tries to have events delivered to a subject that the user may not publish to: permissions do not cover the
// body of a request.
func (s *site) pushes() {
	s.t.Helper()
	nc := s.connect("outbox_invalidate", "_INBOX_outbox_invalidate")
	for _, to := range []string{"users.1.updated", "_INBOX_outbox_relay.x.1"} {
		body := fmt.Sprintf(`{"stream_name":"OUTBOX","config":{"durable_name":"invalidate-now","deliver_subject":%q,"ack_policy":"explicit"}}`, to)
		reply, err := nc.Request("$JS.API.CONSUMER.CREATE.OUTBOX.invalidate-now", []byte(body), patience)
		if err != nil || !strings.Contains(string(reply.Data), `"error"`) {
			s.t.Errorf("events are pushed to %s: %v", to, err)
			continue
		}
		s.t.Logf("%s: %s", to, reply.Data)
	}
}

// denied requires that the server reported a permissions violation for the last message.
func (s *site) denied(nc *nats.Conn, user, what, subject string) {
	s.t.Helper()
	if err := nc.FlushTimeout(patience); err != nil {
		s.t.Fatal(err)
	}
	want := strings.ToLower(fmt.Sprintf("permissions violation for %s to %q", what, subject))
	if err := nc.LastError(); err == nil || !strings.Contains(strings.ToLower(err.Error()), want) {
		s.t.Errorf("%s may: %s to %s (%v)", user, what, subject, err)
	}
}
