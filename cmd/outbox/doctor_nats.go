package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/doctor"
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

const (
	// largestMessage is the size of the largest event: its payload, its headers, and those that the relay adds.
	largestMessage  = event.MaxPayload + event.MaxHeaders + event.MaxSubject + event.MaxKey + 2048
	shortestWindow  = 2 * time.Minute
	enableJetStream = "start nats-server with -js, or allow JetStream for the account"
)

func inspectNATS(ctx context.Context, s *session, u *checkup) error {
	err := s.dialNATS(ctx)
	if exit.IsUsage(err) {
		return err
	}
	if err != nil {
		u.unreached(err, "nats server check connection; to see the URL in use, run: outbox config show")
		return nil
	}
	nc, js := s.nc, s.js
	u.ok("reachable", "nats-server %s", nc.ConnectedServerVersion())
	if nc.MaxPayload() < largestMessage {
		u.warn("max_payload", "set max_payload = 1MB in the server's configuration", "%d bytes, and the largest event needs %d: the relay parks a larger one", nc.MaxPayload(), largestMessage)
	} else {
		u.ok("max_payload", "%d bytes", nc.MaxPayload())
	}
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	account, err := js.AccountInfo(ctx)
	if err != nil {
		u.fail("jetstream", enableJetStream, "%v", err)
		return nil
	}
	u.ok("jetstream", "on, %d streams in the account", account.Streams)
	name, asked := s.set.Text("stream"), time.Now()
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		u.fail("stream", "outbox relay --stream "+name+" --subjects '"+wantedSubjects(s.set)+"'", "stream %s does not exist", name)
		return nil
	}
	if err != nil {
		u.broke("stream", err)
		return nil
	}
	info := stream.CachedInfo()
	u.ok("stream", "%s: %d messages, last sequence %d", name, info.State.Msgs, info.State.LastSeq)
	checkSubjects(u, &info.Config, s.set, func(subject string) (owner string) {
		names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for found := range names.Name() {
			if found != name {
				owner = found
			}
		}
		return owner
	})
	checkStream(u, &info.Config, s.set.On("relay.chain"), s.set.Duration("relay.ack_wait"))
	checkReplicas(u, info, nc)
	if !info.TimeStamp.IsZero() {
		checkClock(u, doctor.ClockSkew(info.TimeStamp, asked, time.Now()))
	}
	interval, err := syncInterval(ctx, s.c.String("nats-monitor"))
	checkSync(u, interval, err, info.Config.Replicas)
	return nil
}

func wantedSubjects(set *setting.Set) string {
	if subjects := set.Text("relay.subjects"); subjects != "" {
		return subjects
	}
	return "<subjects>"
}

// checkSubjects compares the subjects of the stream with those of the settings. owner returns the other stream that has
// a subject, if any.
func checkSubjects(u *checkup, c *jetstream.StreamConfig, set *setting.Set, owner func(subject string) string) {
	want := set.List("relay.subjects")
	if set.On("relay.chain") {
		want = append(want, relay.ControlSubject(c.Name))
	}
	var missing []string
	for _, subject := range want {
		if !stream.Covered(c.Subjects, subject) {
			missing = append(missing, subject)
		}
	}
	for _, subject := range missing {
		if other := owner(subject); other != "" {
			u.fail("overlap", "nats stream info "+other+"; a subject can belong to one stream only", "this stream does not cover %s, which belongs to stream %s", subject, other)
		}
	}
	if len(missing) > 0 {
		u.fail("subjects", fmt.Sprintf("nats stream edit %s --subjects '%s'", c.Name, strings.Join(append(c.Subjects, missing...), ",")),
			"the stream does not cover %s", strings.Join(missing, ", "))
		return
	}
	u.ok("subjects", "%s", strings.Join(c.Subjects, ", "))
}

func checkStream(u *checkup, c *jetstream.StreamConfig, chain bool, ackWait time.Duration) {
	again := "create another stream; see: outbox relay --help"
	edit := "nats stream edit " + c.Name
	switch {
	case c.NoAck:
		u.fail("acks", again, "no_ack is on: the relay cannot know whether a publish succeeded")
	case c.Sealed:
		u.fail("acks", again, "the stream is sealed and accepts no messages")
	case c.Mirror != nil:
		u.fail("acks", "publish to its origin", "the stream is a mirror of %s", c.Mirror.Name)
	default:
		u.ok("acks", "the stream accepts messages and acknowledges them")
	}
	if chain && len(c.Sources) > 0 {
		u.warn("writers", again+" with --chain off", "the stream has %d sources: the relay is not its only writer", len(c.Sources))
	}
	if c.Storage != jetstream.FileStorage {
		u.warn("storage", again, "%s: a restart of the server empties the stream", c.Storage)
	} else {
		u.ok("storage", "file")
	}
	switch {
	case c.Retention != jetstream.LimitsPolicy && chain:
		u.fail("retention", again+", or run with --chain off", "%s: the stream drops acknowledged messages", c.Retention)
	case c.Retention != jetstream.LimitsPolicy:
		u.warn("retention", again, "%s: the stream drops acknowledged messages", c.Retention)
	case c.Discard == jetstream.DiscardNew:
		u.warn("retention", edit+" --discard=old", "limits with discard new: a full stream rejects events, and the relay waits")
	default:
		u.ok("retention", "limits, %s", limits(c))
	}
	// The relay repeats a publish without an answer after ackWait, and again after the outage. On a chained stream only
	// messages that an operator publishes by hand need the window.
	if shortest := max(shortestWindow, 4*ackWait); c.Duplicates < shortest {
		u.warn("duplicates", edit+" --dupe-window="+shortest.String(), "window %s is shorter than %s, which retries after %s may need", c.Duplicates, shortest, ackWait)
	} else {
		u.ok("duplicates", "window %s", c.Duplicates)
	}
	if c.MaxMsgSize > 0 && c.MaxMsgSize < largestMessage {
		u.warn("max_msg_size", edit+" --max-msg-size=-1", "%d bytes, and the largest event needs %d: the relay parks a larger one", c.MaxMsgSize, largestMessage)
	} else {
		u.ok("max_msg_size", "%d", c.MaxMsgSize)
	}
}

func limits(c *jetstream.StreamConfig) string {
	var out []string
	for _, limit := range []struct {
		name string
		n    int64
	}{{"messages", c.MaxMsgs}, {"bytes", c.MaxBytes}, {"messages per subject", c.MaxMsgsPerSubject}} {
		if limit.n > 0 {
			out = append(out, fmt.Sprintf("%d %s", limit.n, limit.name))
		}
	}
	if c.MaxAge > 0 {
		out = append(out, c.MaxAge.String())
	}
	if len(out) == 0 {
		return "none set"
	}
	return strings.Join(out, ", ")
}

// errNoMonitor means that --nats-monitor is not set.
var errNoMonitor = errors.New("no --nats-monitor was given")

// syncInterval reads from the monitoring port of a server how often it syncs to disk. Clients cannot read it.
func syncInterval(ctx context.Context, monitor string) (time.Duration, error) {
	if monitor == "" {
		return 0, errNoMonitor
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+"/jsz?config=true", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", monitor, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // the answer is complete
	var answer struct {
		Config *struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil || answer.Config == nil {
		return 0, fmt.Errorf("read %s: want an answer of nats-server, got %s", monitor, response.Status)
	}
	if answer.Config.SyncAlways {
		return 0, nil
	}
	return answer.Config.SyncInterval, nil
}

// checkSync reports what a loss of power can cost.
func checkSync(u *checkup, interval time.Duration, err error, replicas int) {
	const risk = "a loss of power can lose the acknowledged messages of that time; the relay publishes them again, so consumers may receive them twice"
	switch {
	case errors.Is(err, errNoMonitor):
		u.ok("sync_interval", "unknown without --nats-monitor; the default is 2m: %s", risk)
	case err != nil:
		u.warn("sync_interval", "outbox doctor --nats-monitor http://<server>:8222", "%v", err)
	case interval > 0 && replicas == 1:
		u.warn("sync_interval", "set sync_interval: always in the section jetstream of the server's configuration, or add replicas", "%s and one replica: %s", interval, risk)
	case interval > 0:
		u.ok("sync_interval", "%s, %d replicas, which would have to lose power together", interval, replicas)
	default:
		u.ok("sync_interval", "always")
	}
}

// checkReplicas compares the stream with its cluster.
func checkReplicas(u *checkup, info *jetstream.StreamInfo, nc *nats.Conn) {
	replicas := info.Config.Replicas
	if nc.ConnectedClusterName() == "" || info.Cluster == nil {
		u.ok("replicas", "%d, on a single server", replicas)
		return
	}
	var late []string
	for _, peer := range info.Cluster.Replicas {
		if peer.Offline || !peer.Current {
			late = append(late, fmt.Sprintf("%s (lag %d)", peer.Name, peer.Lag))
		}
	}
	servers := len(nc.Servers())
	switch {
	case replicas == 1 && servers > 1:
		u.warn("replicas", "nats stream edit "+info.Config.Name+" --replicas=3", "1 in a cluster of %d servers: the stream is not available when its server is not", servers)
	case len(late) > 0:
		u.warn("replicas", "nats stream info "+info.Config.Name+"; nats server report jetstream", "%d, not current: %s", replicas, strings.Join(late, ", "))
	default:
		u.ok("replicas", "%d, leader %s", replicas, info.Cluster.Leader)
	}
}
