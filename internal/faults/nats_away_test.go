package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// natsUsers returns a configuration with two users of one account: app, which may not publish to denied, and person,
// which may do everything.
func natsUsers(jetStream, denied string) []byte {
	if denied != "" {
		denied = fmt.Sprintf(", permissions: {publish: {deny: [%q]}}", denied)
	}
	return fmt.Appendf(nil, `accounts: {APP: {jetstream: %s, users: [{user: app, password: app%s}, {user: person, password: person}]}}`, jetStream, denied)
}

func withUser(url, user string) string {
	return strings.Replace(url, "://", "://"+user+":"+user+"@", 1)
}

// testNATSPermissions reconfigures the server so that the relay cannot publish, and after a while restores the
// configuration.
func testNATSPermissions(t *testing.T) {
	config := filepath.Join(t.TempDir(), "nats.conf")
	write := func(jetStream, denied string) {
		t.Helper()
		if err := os.WriteFile(config, natsUsers(jetStream, denied), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("enabled", "")
	server := devtest.OwnNATS(t, devstack.NATSConfig{ConfigFile: config})
	restart := func(s *scenario) {
		s.must(server.Stop())
		s.must(server.Start())
	}
	for _, one := range []struct {
		fault, jetStream string
		denied           func(s *scenario) string
		log              string
	}{
		{"NATS: no responders: account without JetStream for a while", "disabled", func(*scenario) string { return "" }, "JetStream not enabled for account"},
		{"NATS: permission to publish events revoked and granted again", "enabled", func(s *scenario) string { return s.stream + ".>" }, "Permissions Violation"},
		{"NATS: permission for the JetStream API revoked and granted again", "enabled", func(*scenario) string { return "$JS.API.>" }, "Permissions Violation"},
	} {
		runScenario(t, one.fault, options{nats: withUser(server.URL(), "person")}, func(s *scenario) {
			s.natsURL = withUser(server.URL(), "app")
			s.startInvalidator("")
			p := s.startRelay("relay", "")
			l := s.startLoad(4, 2*time.Millisecond, false)
			for range times(1, 2) {
				s.probe()
				s.awaitLog(p, one.log, func() {
					write(one.jetStream, one.denied(s))
					restart(s)
				})
				s.awaitPending(p, l)
				write("enabled", "")
				restart(s)
				s.measureRecovery(time.Now())
				s.row.faults++
			}
			l.stop()
			s.verify()
		})
	}
}

// testDedupeWindowPast shows that the relay does not depend on the stream's deduplication window, which is 100 ms here.
// A relay that received no acks is killed, and the next relay starts long after the window has passed.
func testDedupeWindowPast(t *testing.T) {
	const window = 100 * time.Millisecond
	runScenario(t, "NATS: acks of a window dropped, the relay killed, the next one resumes after the deduplication window (100 ms)", options{duplicates: window}, func(s *scenario) {
		s.startInvalidator("")
		proxy, through := devtest.Proxy(t, s.natsURL)
		s.natsURL = through
		l := s.startLoad(4, 3*time.Millisecond, false)
		for range times(1, 6) {
			p := s.startRelay("without-acks", "")
			s.probe()
			before := s.awaitState().LastSeq
			s.insertBacklog(3000)
			s.eventually(30*time.Second, "part of a window published", func(ctx context.Context) error {
				state, err := s.streamState(ctx)
				if err != nil {
					return err
				}
				return atLeast(state.LastSeq, before+100)
			})
			proxy.Drop(faultnet.ToClient)
			s.eventually(30*time.Second, "acks dropped", func(context.Context) error {
				return atLeast(uint64(proxy.Dropped(faultnet.ToClient)), 1)
			})
			pause(t.Context(), time.Duration(s.row.faults%4)*400*time.Millisecond) // kill it before or after its ack timeout
			p.Kill()
			s.eventually(30*time.Second, "deduplication window past", func(ctx context.Context) error {
				state, err := s.streamState(ctx)
				if err != nil {
					return err
				}
				return atLeast(uint64(time.Since(state.LastTime)), uint64(5*window))
			})
			proxy.Refuse()
			proxy.Heal()
			began := time.Now()
			next := s.startRelay("next", "")
			s.measureRecovery(began)
			next.Kill()
			s.row.faults++
		}
		l.stop()
		s.startRelay("last", "")
		s.verify()
	})
}
