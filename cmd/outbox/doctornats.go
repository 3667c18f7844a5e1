package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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

func checkNATS(ctx context.Context, s settings, u *checkup, monitor string) error {
	nc, js, err := dialNATS(s, "outbox doctor")
	if _, ok := errors.AsType[*usageError](err); ok {
		return err
	}
	if err != nil {
		u.unreached(err, "outbox config show tells which URL is in use; nats server check connection")
		return nil
	}
	defer nc.Close()
	u.ok("reachable", "nats-server %s", nc.ConnectedServerVersion())
	if nc.MaxPayload() < largestMessage {
		u.warn("max_payload", "set max_payload = 1MB in the server's configuration", "%d bytes, the largest event needs %d: a larger one is parked", nc.MaxPayload(), largestMessage)
	} else {
		u.ok("max_payload", "%d bytes", nc.MaxPayload())
	}
	ctx, cancel := within(ctx)
	defer cancel()
	account, err := js.AccountInfo(ctx)
	if err != nil {
		u.fail("jetstream", enableJetStream, "%v", err)
		return nil
	}
	u.ok("jetstream", "on, %d streams in the account", account.Streams)
	name, asked := s.text("stream"), time.Now()
	stream, err := js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		u.fail("stream", "outbox relay --stream "+name+" --subjects '"+wantedSubjects(s)+"'", "stream %s does not exist", name)
		return nil
	}
	if err != nil {
		u.broke("stream", err)
		return nil
	}
	info := stream.CachedInfo()
	u.ok("stream", "%s: %d messages, last sequence %d", name, info.State.Msgs, info.State.LastSeq)
	judgeSubjects(u, &info.Config, s, func(subject string) (owner string) {
		names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for found := range names.Name() {
			if found != name {
				owner = found
			}
		}
		return owner
	})
	judgeStream(u, &info.Config, s.on("relay.chain"), s.duration("relay.ack_wait"))
	judgeReplicas(u, info, nc)
	if !info.TimeStamp.IsZero() {
		judgeClock(u, doctor.ClockSkew(info.TimeStamp, asked, time.Now()))
	}
	interval, err := syncInterval(ctx, monitor)
	judgeSync(u, interval, err, info.Config.Replicas)
	return nil
}

func wantedSubjects(s settings) string {
	if subjects := s.text("relay.subjects"); subjects != "" {
		return subjects
	}
	return "<subjects>"
}

// judgeSubjects compares what the stream covers with what is wanted; owner tells which other stream has a subject.
func judgeSubjects(u *checkup, c *jetstream.StreamConfig, s settings, owner func(subject string) string) {
	want := s.list("relay.subjects")
	if s.on("relay.chain") {
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
