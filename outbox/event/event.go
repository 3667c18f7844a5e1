package event

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Limits of an event, the same as the CHECK constraints of the table. An event within them, headers included, fits a
// NATS server with its default max_payload of 1 MiB.
const (
	MaxSubject     = 1024   // bytes
	MaxKey         = 1024   // bytes
	MaxPayload     = 983040 // bytes (960 KiB)
	MaxHeaders     = 16384  // bytes, as the JSON text that is stored
	MaxContentType = 255    // bytes
)

// DefaultContentType is what an empty Event.ContentType means.
const DefaultContentType = "application/json"

// ErrInvalid is wrapped by every error about an event that breaks a rule of the table.
var ErrInvalid = errors.New("invalid event")

// Event is the fact that something happened: a row of the outbox, the message that a relay publishes, and what a
// consumer reads from it with Parse. A service sets the first block of fields, and outbox.Insert ignores the second.
type Event struct {
	ID          uuid.UUID         // deduplication id. Insert generates a random one for zero
	Subject     string            // literal tokens joined by dots, such as "users.42.updated". Required
	Key         string            // what the event is about, such as "42"; events of one key keep their order. Defaults to the subject
	Payload     []byte            // published unchanged
	ContentType string            // defaults to DefaultContentType
	Headers     map[string]string // names consist of A-Z a-z 0-9 _ - and do not begin with Nats- or Outbox-
	ResendOf    uuid.UUID         // the id of the original, if the event is a copy made by a replay

	CreatedAt time.Time // when the row was inserted, by the clock of the database
	Position  int64     // the gapless number that the relay gave the event; 0 if it has none
}

// Validate returns an error that wraps ErrInvalid if the event breaks a rule of the table, and nil otherwise. Insert
// calls it, so that an invalid event costs neither a round trip nor the transaction.
func (e *Event) Validate() error {
	if err := ValidateSubject(e.Subject); err != nil {
		return err
	}
	if len(e.Payload) > MaxPayload {
		return fmt.Errorf("%w: payload has %d bytes, the limit is %d", ErrInvalid, len(e.Payload), MaxPayload)
	}
	return e.ValidateHeaders()
}

// ValidateHeaders is the part of Validate that checks what becomes a header of the message: the key, the content
// type, and the names, values and size of Headers.
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

// ValidateSubject returns an error that wraps ErrInvalid unless a text can be the subject of an event: at most
// MaxSubject bytes of UTF-8, tokens joined by dots, without empty tokens, wildcards, spaces and control characters,
// and not among the subjects of NATS ($…, _INBOX…) or of the relay (_OUTBOX.…).
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
			return fmt.Errorf("%w: subject %q has a wildcard, a space or a control character; encode values with Token", ErrInvalid, subject)
		}
	}
	return nil
}

func notInToken(r rune) bool { return r == '*' || r == '>' || r == ' ' || isControl(r) }

// isControl reports a control character of ASCII. NATS and PostgreSQL, in every locale, agree on no others.
func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func validateHeader(name, value string) error {
	if name == "" || strings.IndexFunc(name, notInHeaderName) >= 0 {
		return fmt.Errorf("%w: header name %q: want one or more of A-Z a-z 0-9 _ -", ErrInvalid, name)
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

// headerValue checks that NATS delivers a header value unchanged.
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
