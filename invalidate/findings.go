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

// Tiers of a Violation.
const (
	TierAge     = "age"     // by the time to live that is left: the value was there before the event, no delete reached it
	TierVersion = "version" // the value shows an older version than the event
)

// A Violation is a value older than an event that made it stale a scale ago.
type Violation struct {
	Consumer     string        `json:"consumer"`
	Scale        time.Duration `json:"scale_ns"`
	Instance     string        `json:"instance"`
	Time         time.Time     `json:"time"` // when it was found
	Tier         string        `json:"tier"`
	Key          string        `json:"key"`
	EventID      uuid.UUID     `json:"event_id"`
	Subject      string        `json:"subject"`
	Sequence     uint64        `json:"sequence"`
	CreatedAt    time.Time     `json:"created_at,omitzero"`
	Version      string        `json:"version,omitempty"` // that the value shows …
	Due          string        `json:"due,omitempty"`     // … and has to have at least
	FilledAfter  time.Time     `json:"filled_after,omitzero"`
	FilledBefore time.Time     `json:"filled_before,omitzero"`
	History      []Trace       `json:"history"` // what that process did to the key, the oldest first
}

// Found says in words what was found.
func (v *Violation) Found() string {
	if v.Tier == TierVersion {
		return fmt.Sprintf("version %s, due %s", clip(v.Version), clip(v.Due))
	}
	return fmt.Sprintf("filled at %s, event of %s", clockTime(v.FilledBefore), clockTime(v.CreatedAt))
}

// Story says in words what was done to the key.
func (v *Violation) Story() string {
	if len(v.History) == 0 {
		return "nothing known: not in this process, or long ago"
	}
	parts := make([]string, len(v.History))
	for i, t := range v.History {
		parts[i] = fmt.Sprintf("%s %s %s sequence %d (%d of %d keys existed)", clockTime(t.Time), t.Consumer, t.Did, t.Sequence, t.Existed, t.Asked)
	}
	return strings.Join(parts, "; ")
}

func (v *Violation) attributes() []any {
	return []any{
		"event_id", v.EventID, "subject", v.Subject, "key", v.Key, "sequence", v.Sequence, "scale", v.Scale.String(),
		"tier", v.Tier, "found", v.Found(), "history", v.Story(),
	}
}

func clockTime(t time.Time) string { return t.UTC().Format("15:04:05.000Z") }

// clip shortens what a value says of its version.
func clip(text string) string {
	const most = 64
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
}

// Findings are what one process found at one scale since its start.
type Findings struct {
	Consumer string        `json:"consumer"`
	Scale    time.Duration `json:"scale_ns"`
	Instance string        `json:"instance"` // made up at the start of the process
	Started  time.Time     `json:"started"`
	Updated  time.Time     `json:"updated"`
	Tally
	Last []Violation `json:"last"` // the last ten, the oldest first
}

// FindingsAge is how long findings are kept after their process has last written them.
const FindingsAge = 7 * 24 * time.Hour

// FindingsBucket is the key-value bucket of NATS that holds the findings of a stream: its name with _STALENESS. What
// a bucket's name cannot have becomes _.
func FindingsBucket(stream string) string { return plainName(stream) + "_STALENESS" }

// plainName leaves of a name what buckets and keys can have without a meaning of its own.
func plainName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, name)
}

// ReadFindings returns what the audits of a stream have written in the last FindingsAge, by consumer, the oldest process
// first. None, and no error, means that no audit ever wrote anything.
func ReadFindings(ctx context.Context, js jetstream.JetStream, stream string) ([]Findings, error) {
	bucket := FindingsBucket(stream)
	kv, err := js.KeyValue(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read findings: open bucket %s: %w", bucket, err)
	}
	// A watcher would want a consumer, and the right to make one.
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
			continue // too old by now
		}
		if err != nil {
			return nil, fmt.Errorf("read findings: %w", err)
		}
		var f Findings
		if err := json.Unmarshal(entry.Value(), &f); err != nil {
			return nil, fmt.Errorf("read findings of %s: %w", entry.Key(), err)
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
