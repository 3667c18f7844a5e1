package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// natsUsers is a configuration with two users of one account: app, which may not publish to denied, and person.
func natsUsers(jetStream, denied string) []byte {
	if denied != "" {
		denied = fmt.Sprintf(", permissions: {publish: {deny: [%q]}}", denied)
	}
	return fmt.Appendf(nil, `accounts: {APP: {jetstream: %s, users: [{user: app, password: app%s}, {user: person, password: person}]}}`, jetStream, denied)
}

func withUser(url, user string) string {
	return strings.Replace(url, "://", "://"+user+":"+user+"@", 1)
}

// The server is configured so that the relay cannot do its work, and after a while so that it can.
func testNATSForbids(t *testing.T) {
	config := filepath.Join(t.TempDir(), "nats.conf")
	write := func(jetStream, denied string) {
		t.Helper()
		if err := os.WriteFile(config, natsUsers(jetStream, denied), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("enabled", "")
	server := devtest.OwnNATS(t, devstack.NATSConfig{ConfigFile: config})
	restart := func(s *scene) {
		s.must(server.Stop())
		s.must(server.Start())
	}
	for _, one := range []struct {
		fault, jetStream string
		denied           func(s *scene) string
		says             string
	}{
		{"NATS: no responders: account without JetStream for a while", "disabled", func(*scene) string { return "" }, "JetStream not enabled for account"},
		{"NATS: permission to publish events taken and given back", "enabled", func(s *scene) string { return s.stream + ".>" }, "Permissions Violation"},
		{"NATS: permission for the JetStream API taken and given back", "enabled", func(*scene) string { return "$JS.API.>" }, "Permissions Violation"},
	} {
		scenario(t, one.fault, options{nats: withUser(server.URL(), "person")}, func(s *scene) {
			s.natsURL = withUser(server.URL(), "app")
			s.invalidator("")
			p := s.relay("relay", "")
			l := s.write(4, 2*time.Millisecond, false)
			for range times(1, 2) {
				s.flows()
				s.says(p, one.says, func() {
					write(one.jetStream, one.denied(s))
					restart(s)
				})
				s.waits(p, l)
				write("enabled", "")
				restart(s)
				s.recovered(time.Now())
				s.row.faults++
			}
			l.stop()
			s.judge()
		})
	}
}

// Nothing rests on the server's memory of message ids: it is 100 ms here, and a relay that was never told of its acks
// is followed by another much later.
func testDedupeWindowPast(t *testing.T) {
	const memory = 100 * time.Millisecond
	scenario(t, "NATS: acks of a window dropped, the relay killed, the next one resumes past the dedupe window (100 ms)", options{duplicates: memory}, func(s *scene) {
		proxy, err := faultnet.Listen(strings.TrimPrefix(s.natsURL, "nats://"))
		s.must(err)
		t.Cleanup(func() {
			if err := proxy.Close(); err != nil {
				t.Error(err)
			}
		})
		s.invalidator("")
		s.natsURL = "nats://" + proxy.Addr()
		l := s.write(4, 3*time.Millisecond, false)
		for range times(1, 6) {
			p := s.relay("deaf", "")
			s.flows()
			before := s.state().LastSeq
			s.backlog(3000)
			s.eventually(30*time.Second, "in the middle of a window", func(context.Context) error {
				return more(s.state().LastSeq, before+100)
			})
			proxy.Drop(faultnet.ToClient)
			s.eventually(30*time.Second, "acks get lost", func(context.Context) error {
				return more(uint64(proxy.Dropped(faultnet.ToClient)), 1)
			})
			pause(t.Context(), time.Duration(s.row.faults%4)*400*time.Millisecond) // before or after it notices
			p.kill()
			s.eventually(30*time.Second, "the window is past", func(context.Context) error {
				return more(uint64(time.Since(s.state().LastTime)), uint64(5*memory))
			})
			proxy.Refuse()
			proxy.Heal()
			began := time.Now()
			next := s.relay("next", "")
			s.recovered(began)
			next.kill()
			s.row.faults++
		}
		l.stop()
		s.relay("last", "")
		s.judge()
	})
}

func (s *scene) state() jetstream.StreamState {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), s.stream)
	s.must(err)
	return stream.CachedInfo().State
}

func more(is, least uint64) error {
	if is < least {
		return fmt.Errorf("%d of %d", is, least)
	}
	return nil
}
