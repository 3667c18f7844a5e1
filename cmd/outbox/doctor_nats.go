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
	// largestMessage is what the largest event needs: payload, its headers, and those that the relay adds.
	largestMessage  = event.MaxPayload + event.MaxHeaders + event.MaxSubject + event.MaxKey + 2048
	shortestWindow  = 2 * time.Minute
	enableJetStream = "start nats-server with -js, or allow JetStream for the account"
)

func checkNATS(ctx context.Context, s *session, u *checkup) error {
	err := s.dialNATS(ctx)
	if exit.IsUsage(err) {
		return err
	}
	if err != nil {
		u.unreached(err, "outbox config show tells which URL is in use; nats server check connection")
		return nil
	}
	nc, js := s.nc, s.js
	u.ok("reachable", "nats-server %s", nc.ConnectedServerVersion())
	if nc.MaxPayload() < largestMessage {
		u.warn("max_payload", "set max_payload = 1MB in the server's configuration", "%d bytes, the largest event needs %d: a larger one is parked", nc.MaxPayload(), largestMessage)
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
	judgeSubjects(u, &info.Config, s.set, func(subject string) (owner string) {
		names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for found := range names.Name() {
			if found != name {
				owner = found
			}
		}
		return owner
	})
	judgeStream(u, &info.Config, s.set.On("relay.chain"), s.set.Duration("relay.ack_wait"))
	judgeReplicas(u, info, nc)
	if !info.TimeStamp.IsZero() {
		judgeClock(u, doctor.ClockSkew(info.TimeStamp, asked, time.Now()))
	}
	interval, err := syncInterval(ctx, s.c.String("nats-monitor"))
	judgeSync(u, interval, err, info.Config.Replicas)
	return nil
}

func wantedSubjects(set *setting.Set) string {
	if subjects := set.Text("relay.subjects"); subjects != "" {
		return subjects
	}
	return "<subjects>"
}

// judgeSubjects compares what the stream covers with what is wanted; owner tells which other stream has a subject.
func judgeSubjects(u *checkup, c *jetstream.StreamConfig, set *setting.Set, owner func(subject string) string) {
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
			u.fail("overlap", "nats stream info "+other+"; a subject belongs to one stream", "%s, which this stream does not cover, goes to stream %s", subject, other)
		}
	}
	if len(missing) > 0 {
		u.fail("subjects", fmt.Sprintf("nats stream edit %s --subjects '%s'", c.Name, strings.Join(append(c.Subjects, missing...), ",")),
			"the stream does not cover %s", strings.Join(missing, ", "))
		return
	}
	u.ok("subjects", "%s", strings.Join(c.Subjects, ", "))
}

func judgeStream(u *checkup, c *jetstream.StreamConfig, chain bool, ackWait time.Duration) {
	again := "make another stream; see outbox relay --help"
	edit := "nats stream edit " + c.Name
	switch {
	case c.NoAck:
		u.fail("acks", again, "no_ack is on: nothing could be known of a publish")
	case c.Sealed:
		u.fail("acks", again, "the stream is sealed: it takes nothing")
	case c.Mirror != nil:
		u.fail("acks", "publish to its origin", "the stream is a mirror of %s", c.Mirror.Name)
	default:
		u.ok("acks", "the stream takes messages and acknowledges them")
	}
	if chain && len(c.Sources) > 0 {
		u.warn("writers", again+" with --chain off", "the stream takes in %d others: the relay is not its only writer", len(c.Sources))
	}
	if c.Storage != jetstream.FileStorage {
		u.warn("storage", again, "%s: a restart of the server empties the stream", c.Storage)
	} else {
		u.ok("storage", "file")
	}
	switch {
	case c.Retention != jetstream.LimitsPolicy && chain:
		u.fail("retention", again+", or run with --chain off", "%s: acknowledged messages are dropped", c.Retention)
	case c.Retention != jetstream.LimitsPolicy:
		u.warn("retention", again, "%s: acknowledged messages are dropped", c.Retention)
	case c.Discard == jetstream.DiscardNew:
		u.warn("retention", edit+" --discard=old", "limits with discard new: a full stream refuses events, and the relay waits")
	default:
		u.ok("retention", "limits, %s", limits(c))
	}
	// A publish without an answer is repeated after ackWait, and once more after the outage that it was; a chained stream needs the
	// window for nothing but what an operator publishes by hand.
	if shortest := max(shortestWindow, 4*ackWait); c.Duplicates < shortest {
		u.warn("duplicates", edit+" --dupe-window="+shortest.String(), "window %s, shorter than %s, what retries after %s may need", c.Duplicates, shortest, ackWait)
	} else {
		u.ok("duplicates", "window %s", c.Duplicates)
	}
	if c.MaxMsgSize > 0 && c.MaxMsgSize < largestMessage {
		u.warn("max_msg_size", edit+" --max-msg-size=-1", "%d bytes, the largest event needs %d: a larger one is parked", c.MaxMsgSize, largestMessage)
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

// errNoMonitor says that nobody told where the server is monitored.
var errNoMonitor = errors.New("no --nats-monitor was given")

// syncInterval asks the monitoring port of a server how often it syncs to disk. Clients are not told.
func syncInterval(ctx context.Context, monitor string) (time.Duration, error) {
	if monitor == "" {
		return 0, errNoMonitor
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+"/jsz?config=true", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", monitor, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or not, it is done with
	var answer struct {
		Config *struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil || answer.Config == nil {
		return 0, fmt.Errorf("ask %s: it does not answer as nats-server does (%s)", monitor, response.Status)
	}
	if answer.Config.SyncAlways {
		return 0, nil
	}
	return answer.Config.SyncInterval, nil
}

// judgeSync says what a loss of power costs.
func judgeSync(u *checkup, interval time.Duration, err error, replicas int) {
	const risk = "a loss of power can take acknowledged messages of that time; the relay publishes them again, consumers that have seen them see them twice"
	switch {
	case errors.Is(err, errNoMonitor):
		u.ok("sync_interval", "not known without --nats-monitor; the default is 2m: %s", risk)
	case err != nil:
		u.warn("sync_interval", "outbox doctor --nats-monitor http://<server>:8222", "%v", err)
	case interval > 0 && replicas == 1:
		u.warn("sync_interval", "sync_interval: always, in the section jetstream of the server's configuration, or more replicas", "%s and one replica: %s", interval, risk)
	case interval > 0:
		u.ok("sync_interval", "%s, %d replicas: they would have to lose power together", interval, replicas)
	default:
		u.ok("sync_interval", "always")
	}
}

// judgeReplicas compares the stream with the cluster it lives in.
func judgeReplicas(u *checkup, info *jetstream.StreamInfo, nc *nats.Conn) {
	replicas := info.Config.Replicas
	if nc.ConnectedClusterName() == "" || info.Cluster == nil {
		u.ok("replicas", "%d, on a single server", replicas)
		return
	}
	var behind []string
	for _, peer := range info.Cluster.Replicas {
		if peer.Offline || !peer.Current {
			behind = append(behind, fmt.Sprintf("%s (%d behind)", peer.Name, peer.Lag))
		}
	}
	servers := len(nc.Servers())
	switch {
	case replicas == 1 && servers > 1:
		u.warn("replicas", "nats stream edit "+info.Config.Name+" --replicas=3", "1 in a cluster of %d servers: the stream is away when its server is", servers)
	case len(behind) > 0:
		u.warn("replicas", "nats stream info "+info.Config.Name+"; nats server report jetstream", "%d, not current: %s", replicas, strings.Join(behind, ", "))
	default:
		u.ok("replicas", "%d, leader %s", replicas, info.Cluster.Leader)
	}
}
