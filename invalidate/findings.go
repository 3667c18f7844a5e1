package invalidate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
)

// A Tier is the evidence that a violation rests on.
type Tier string

// The tiers of a Violation.
const (
	TierAge     Tier = "age"     // by its remaining time to live, the value existed before the event and no deletion reached it
	TierVersion Tier = "version" // the value has an older version than the event
)

// A Violation is a cached value that is older than an event, found one scale after that event.
type Violation struct {
	Consumer     string        `json:"consumer"`
	Scale        time.Duration `json:"scale_ns"`
	Instance     string        `json:"instance"`
	Time         time.Time     `json:"time"` // when it was found
	Tier         Tier          `json:"tier"`
	Key          string        `json:"key"`
	EventID      uuid.UUID     `json:"event_id"`
	Subject      string        `json:"subject"`
	Sequence     uint64        `json:"sequence"`
	CreatedAt    time.Time     `json:"created_at,omitzero"`
	Version      string        `json:"version,omitempty"`      // of the value
	Due          string        `json:"due,omitempty"`          // minimum version, given by the event
	FilledAfter  time.Time     `json:"filled_after,omitzero"`  // the value was filled between this time …
	FilledBefore time.Time     `json:"filled_before,omitzero"` // … and this one
	History      []Trace       `json:"history"`                // what the process did to the key, oldest first
}

// Evidence returns one line that describes what was found.
func (v *Violation) Evidence() string {
	if v.Tier == TierVersion {
		return fmt.Sprintf("version %s, due %s", clip(v.Version), clip(v.Due))
	}
	return fmt.Sprintf("filled at %s, event of %s", clockTime(v.FilledBefore), clockTime(v.CreatedAt))
}

// HistoryText returns one line that describes what the process did to the key.
func (v *Violation) HistoryText() string {
	if len(v.History) == 0 {
		return "unknown: not in this process, or too long ago"
	}
	parts := make([]string, len(v.History))
	for i, t := range v.History {
		parts[i] = fmt.Sprintf("%s %s %s sequence %d (%d of %d keys existed)", clockTime(t.Time), t.Consumer, t.Action, t.Sequence, t.Existed, t.Keys)
	}
	return strings.Join(parts, "; ")
}

func (v *Violation) attributes() []any {
	return []any{
		"event_id", v.EventID, "subject", v.Subject, "key", v.Key, "sequence", v.Sequence, "scale", v.Scale.String(),
		"tier", string(v.Tier), "evidence", v.Evidence(), "history", v.HistoryText(),
	}
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000Z") }

// clip shortens a version, which comes from a cached value and may have any length.
func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Findings are what the staleness check of one process found at one scale since the process started.
type Findings struct {
	Consumer string        `json:"consumer"`
	Scale    time.Duration `json:"scale_ns"`
	Instance string        `json:"instance"` // random ID of the process
	Started  time.Time     `json:"started"`
	Updated  time.Time     `json:"updated"`
	Tally
	Last []Violation `json:"last"` // the last ten, oldest first
}

// FindingsAge is how long findings are kept after their process last wrote them.
const FindingsAge = 7 * 24 * time.Hour

// FindingsBucket returns the name of the NATS key-value bucket that contains the findings of a stream: the name of the
// stream with the suffix _STALENESS. Characters that a bucket name must not contain become underscores.
func FindingsBucket(stream string) string { return plainName(stream) + "_STALENESS" }

// plainName replaces characters that have a meaning in the names of buckets and keys.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// ReadFindings returns what the staleness checks of a stream wrote within FindingsAge, ordered by consumer and then by
// the start of the process. It returns no findings and no error if no check has written any.
func ReadFindings(ctx context.Context, js jetstream.JetStream, stream string) ([]Findings, error) {
	bucket := FindingsBucket(stream)
	kv, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read findings: open bucket %s: %w", bucket, err)
	}
	// List the keys from the state of the stream: a watcher needs a consumer, and the permission to create one.
	s, err := js.Stream(ctx, "KV_"+bucket)
	if err != nil {
		return nil, fmt.Errorf("read findings: %w", err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter("$KV."+bucket+".>"))
	if err != nil {
		return nil, fmt.Errorf("read findings: list bucket %s: %w", bucket, err)
	}
	var all []Findings
	for subject := range info.State.Subjects {
		entry, err := kv.Get(ctx, strings.TrimPrefix(subject, "$KV."+bucket+"."))
		if errors.Is(err, jetstream.ErrKeyNotFound) {
			continue // expired since
		}
		if err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		var f Findings
		if err := json.Unmarshal(entry.Value(), &f); err != nil {
			return nil, fmt.Errorf("read findings: decode %s: %w", entry.Key(), err)
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Findings) int {
		if c := strings.Compare(a.Consumer, b.Consumer); c != 0 {
			return c
		}
		return a.Started.Compare(b.Started)
	})
	return all, nil
}
