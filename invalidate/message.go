package invalidate

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// isMarker reports whether a message is only the placeholder of a parked event.
func isMarker(msg jetstream.Msg) bool {
	return strings.HasPrefix(msg.Subject(), event.ParkedPrefix) && msg.Headers().Get(event.HeaderParked) != ""
}

// parseEvent returns the event of a message. If the headers are invalid, it returns an error that wraps
// rules.ErrPoison, and the event with as much as the rules need.
func parseEvent(msg jetstream.Msg) (event.Event, error) {
	ev, err := event.Parse(msg.Subject(), msg.Headers(), msg.Data())
	if err == nil {
		return ev, nil
	}
	ev = event.Event{
		Subject: msg.Subject(),
		Key:     msg.Headers().Get(event.HeaderKey),
		Payload: msg.Data(),
		Headers: make(map[string]string),
	}
	for name, values := range msg.Headers() {
		if len(values) > 0 {
			ev.Headers[name] = values[0]
		}
	}
	return ev, errors.Join(rules.ErrPoison, err)
}

// createdAt returns when the event was written, or, for a message of another publisher, when the stream stored it.
func createdAt(ev *event.Event, msg jetstream.Msg) time.Time {
	if !ev.CreatedAt.IsZero() {
		return ev.CreatedAt
	}
	if meta, err := msg.Metadata(); err == nil {
		return meta.Timestamp
	}
	return time.Now()
}

// The reply subject of a message contains its metadata. Reading single tokens avoids the allocations of Msg.Metadata.
// The subject is
//
//	$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer sequence>.<nanoseconds>.<pending>
//
// or, with a JetStream domain, $JS.ACK.<domain>.<account>.<stream>… (NATS ADR-15).
const (
	replyDelivered = 4
	replySequence  = 5
	replyTime      = 7
)

// replyToken returns token n of a reply subject without a domain, or "" if there is none.
func replyToken(reply string, n int) string {
	if strings.Count(reply, ".") > 8 {
		n += 2
	}
	for range n {
		_, reply, _ = strings.Cut(reply, ".")
	}
	token, _, _ := strings.Cut(reply, ".")
	return token
}

// redelivered reports whether a message was delivered before.
func redelivered(reply string) bool {
	times := replyToken(reply, replyDelivered)
	return times != "1" && times != ""
}

// storedAt returns when the stream stored a message, by the clock of the server; zero if the reply subject is
// malformed.
func storedAt(reply string) time.Time {
	ns, err := strconv.ParseInt(replyToken(reply, replyTime), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// sequence returns the stream sequence of a message; 0 if the reply subject is malformed.
func sequence(reply string) uint64 {
	n, _ := strconv.ParseUint(replyToken(reply, replySequence), 10, 64)
	return n
}
