package event

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The wire contract: an event is one NATS message. Its subject and body are those of the row, unchanged. These
// headers hold the rest, beside the event's own.
const (
	HeaderMsgID       = "Nats-Msg-Id"      // deduplication id: the event id, unless there is a HeaderEventID
	HeaderEventID     = "Outbox-Event-Id"  // the event id, if the deduplication id had to be a fresh one
	HeaderPosition    = "Outbox-Position"  // Event.Position, absent when 0
	HeaderKey         = "Outbox-Key"       // Event.Key, absent when empty
	HeaderTime        = "Outbox-Time"      // Event.CreatedAt, RFC 3339 with nanoseconds, UTC
	HeaderOp          = "Outbox-Op"        // insert, update or delete, if a capture trigger made the event
	HeaderResendOf    = "Outbox-Resend-Of" // Event.ResendOf, absent when zero
	HeaderParked      = "Outbox-Parked"    // the reason, in the marker message that takes the position of a parked event
	HeaderContentType = "Content-Type"     // Event.ContentType, absent when DefaultContentType
	ParkedPrefix      = "_OUTBOX.parked."  // subject of markers: ParkedPrefix + the name of the stream
	timeFormat        = "2006-01-02T15:04:05.999999999Z07:00"
)

// A dead letter is an event that a consumer can never process, as it was, body and headers, in the dead-letter stream,
// with these headers added. Headers of NATS itself are left out: they would act on the dead-letter stream.
const (
	HeaderDeadReason   = "Outbox-Dead-Reason"   // why the consumer cannot process it
	HeaderDeadConsumer = "Outbox-Dead-Consumer" // the durable consumer that gave up
	HeaderDeadSubject  = "Outbox-Dead-Subject"  // the subject that it was published on
	HeaderDeadSequence = "Outbox-Dead-Sequence" // its sequence in the stream that it came from
	HeaderDeadTime     = "Outbox-Dead-Time"     // when the consumer gave up, RFC 3339
	HeaderDeadOmitted  = "Outbox-Dead-Omitted"  // bytes of the body, if the body was left out to fit
	DeadPrefix         = "_OUTBOX.dead."        // subject of dead letters: DeadPrefix + name of the stream
)

// SetHeaders writes the headers of the event into h, which must not have them yet. The names of Headers keep their
// case.
func (e *Event) SetHeaders(h map[string][]string) {
	var w HeaderWriter
	w.Set(h, e)
}

// Parse reads an event from a message: it is the inverse of SetHeaders. The payload is body itself, not a copy.
// Headers of NATS itself are left out.
//
// A message that no relay published is no error: its event has no position, and no ID unless Nats-Msg-Id is a UUID. If
// headers of the outbox are malformed, the error wraps ErrInvalid.
func Parse(subject string, headers map[string][]string, body []byte) (Event, error) {
	e := Event{Subject: subject, Payload: body, ContentType: DefaultContentType}
	for name, values := range headers {
		if len(values) == 0 {
			continue
		}
		if err := e.parseHeader(name, values[0]); err != nil {
			return Event{}, fmt.Errorf("%w: header %s %q: %w", ErrInvalid, name, values[0], err)
		}
	}
	// Only a relay sets a position, and its deduplication id is the event id unless HeaderEventID is there.
	if id := first(headers[HeaderMsgID]); id != "" && first(headers[HeaderEventID]) == "" {
		parsed, err := uuid.Parse(id)
		if err != nil && e.Position != 0 {
			return Event{}, fmt.Errorf("%w: header %s %q: %w", ErrInvalid, HeaderMsgID, id, err)
		}
		e.ID = parsed
	}
	return e, nil
}

func (e *Event) parseHeader(name, value string) (err error) {
	switch name {
	case HeaderEventID:
		e.ID, err = uuid.Parse(value)
	case HeaderPosition:
		e.Position, err = strconv.ParseInt(value, 10, 64)
	case HeaderKey:
		e.Key = value
	case HeaderTime:
		e.CreatedAt, err = time.Parse(timeFormat, value)
	case HeaderResendOf:
		e.ResendOf, err = uuid.Parse(value)
	case HeaderContentType:
		e.ContentType = value
	default:
		if strings.HasPrefix(name, "Nats-") || name == HeaderParked {
			return nil
		}
		if e.Headers == nil {
			e.Headers = make(map[string]string)
		}
		e.Headers[name] = value
	}
	return err
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[0]
}
