package event

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits at the door, the same as the CHECKs of the table. An event within them fits a NATS server with
// its default max_payload of 1 MiB, headers included.
const (
	MaxSubject     = 1024   // bytes
	MaxKey         = 1024   // bytes
	MaxPayload     = 983040 // bytes (960 KiB)
	MaxHeaders     = 16384  // bytes, as the JSON text that is stored
	MaxContentType = 255    // bytes
)

// DefaultContentType is what an empty Event.ContentType means.
const DefaultContentType = "application/json"

// ErrInvalid is wrapped by every error that says an event breaks a rule of the table.
var ErrInvalid = errors.New("invalid event")

// Event is the fact that something happened: a row of the outbox, the message made of it, and what a
// consumer reads from that message. Insert takes the first block, reading fills the second as well.
type Event struct {
	ID          uuid.UUID         // dedupe id; zero means a new random one
	Subject     string            // literal tokens, for example "users.42.updated"
	Key         string            // what the event is about, for example "42"; empty means the subject
	Payload     []byte            // published byte for byte
	ContentType string            // defaults to DefaultContentType
	Headers     map[string]string // names of A-Z a-z 0-9 _ -, none beginning with Nats- or Outbox-
	ResendOf    uuid.UUID         // the original, for an event that was replayed; zero otherwise

	CreatedAt time.Time // when the row was inserted, by the clock of the database
	Position  int64     // the gapless number that the plan gave it; 0 before
}

// Validate reports the first rule that the event breaks, wrapping ErrInvalid. It is what the CHECKs of the
// table would say, before a round trip is spent and the transaction is lost.
func (e *Event) Validate() error {
	if err := ValidateSubject(e.Subject); err != nil {
		return err
	}
	if len(e.Payload) > MaxPayload {
		return fmt.Errorf("%w: payload has %d bytes, the limit is %d", ErrInvalid, len(e.Payload), MaxPayload)
	}
	return e.ValidateHeaders()
}

// ValidateHeaders is the part of Validate about what travels in headers: key, content type, and names, values and size
// of Event.Headers.
func (e *Event) ValidateHeaders() error {
	if e.Key != "" {
		if err := headerValue("key", e.Key, MaxKey); err != nil {
			return err
		}
	}
	if e.ContentType != "" {
		if err := headerValue("content type", e.ContentType, MaxContentType); err != nil {
			return err
		}
	}
	size := len("{}")
	for name, value := range e.Headers {
		if err := validateHeader(name, value); err != nil {
			return err
		}
		size += len(name) + len(value) + len(`"": "", `)
	}
	if size > MaxHeaders {
		return fmt.Errorf("%w: headers have %d bytes, the limit is %d", ErrInvalid, size, MaxHeaders)
	}
	return nil
}

// ValidateSubject reports why a text is not the subject of an event: literal tokens joined by dots, no
// wildcard, no empty token, no space, none of the names that belong to NATS ($…, _INBOX…) or to the
// relay (_OUTBOX.). The error wraps ErrInvalid.
func ValidateSubject(subject string) error {
	switch {
	case subject == "":
		return fmt.Errorf("%w: subject is empty", ErrInvalid)
	case len(subject) > MaxSubject:
		return fmt.Errorf("%w: subject has %d bytes, the limit is %d", ErrInvalid, len(subject), MaxSubject)
	case !utf8.ValidString(subject):
		return fmt.Errorf("%w: subject %q is not UTF-8", ErrInvalid, subject)
	case subject[0] == '$', strings.HasPrefix(subject, "_INBOX"), strings.HasPrefix(subject, "_OUTBOX."):
		return fmt.Errorf("%w: subject %q is reserved", ErrInvalid, subject)
	}
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" {
			return fmt.Errorf("%w: subject %q has an empty token", ErrInvalid, subject)
		}
		if i := strings.IndexFunc(token, notInToken); i >= 0 {
			return fmt.Errorf("%w: subject %q has a wildcard, a space or a control character (encode values with Token)", ErrInvalid, subject)
		}
	}
	return nil
}

func notInToken(r rune) bool { return r == '*' || r == '>' || r == ' ' || isControl(r) }

// isControl knows the control characters of ASCII, the ones that NATS and PostgreSQL in every locale agree on.
func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func validateHeader(name, value string) error {
	if name == "" || strings.IndexFunc(name, notInHeaderName) >= 0 {
		return fmt.Errorf("%w: header name %q has more than A-Z a-z 0-9 _ -", ErrInvalid, name)
	}
	lower := strings.ToLower(name)
	reserved := strings.HasPrefix(lower, "nats-") || lower == "content-type" ||
		strings.HasPrefix(lower, "outbox-") && name != HeaderOp
	if reserved {
		return fmt.Errorf("%w: header name %q is reserved", ErrInvalid, name)
	}
	if value == "" {
		return nil
	}
	return headerValue("header "+name, value, MaxHeaders)
}

func notInHeaderName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
}

// headerValue checks what travels as the value of a NATS header: it must come out as it went in.
func headerValue(what, value string, limit int) error {
	switch {
	case len(value) > limit:
		return fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrInvalid, what, len(value), limit)
	case !utf8.ValidString(value):
		return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, what)
	case strings.IndexFunc(value, isControl) >= 0:
		return fmt.Errorf("%w: %s %q has a control character", ErrInvalid, what, value)
	case strings.Trim(value, " ") != value:
		return fmt.Errorf("%w: %s %q begins or ends with a space", ErrInvalid, what, value)
	}
	return nil
}
