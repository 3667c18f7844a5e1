package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// maxDuplicates is the duplicate window of a stream that the relay creates. The chain does not need one.
const maxDuplicates = 2 * time.Minute

// ControlSubject is the subject of the markers for parked events. A chained stream must cover it.
func ControlSubject(stream string) string { return event.ParkedPrefix + stream }

// ensureStream finds the stream or creates it, and returns ErrStream if it cannot serve. Every resume calls it, since a
// stream can be deleted and edited at any time.
func (r *Relay) ensureStream(ctx context.Context) (*stream.State, error) {
	return r.checkedState(r.stream.Info(ctx, r.createStream))
}

// findStream is ensureStream for a stream that must exist: otherwise the error wraps jetstream.ErrStreamNotFound.
func (r *Relay) findStream(ctx context.Context) (*stream.State, error) {
	return r.checkedState(r.stream.Info(ctx, nil))
}

func (r *Relay) checkedState(info *jetstream.StreamInfo, err error) (*stream.State, error) {
	if err != nil {
		return nil, err
	}
	if err := r.checkStream(&info.Config); err != nil {
		return nil, err
	}
	return stream.NewState(info), nil
}

func (r *Relay) wantedSubjects() []string {
	if r.cfg.Shared {
		return r.cfg.Subjects
	}
	return append(slices.Clone(r.cfg.Subjects), ControlSubject(r.cfg.Stream))
}

func (r *Relay) createStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	if r.cfg.NoCreate || len(r.cfg.Subjects) == 0 {
		return nil, fmt.Errorf("%w: stream %s does not exist; create it, or run outbox relay with --subjects and without --no-create", ErrStream, r.cfg.Stream)
	}
	duplicates := maxDuplicates
	if r.cfg.MaxAge > 0 {
		duplicates = min(duplicates, r.cfg.MaxAge)
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        r.cfg.Stream,
		Description: "events of an outbox; written by outbox relay alone",
		Subjects:    r.wantedSubjects(),
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		MaxAge:      r.cfg.MaxAge,
		Replicas:    r.cfg.Replicas,
		Duplicates:  duplicates,
		AllowDirect: true,
	})
	if err == nil {
		r.log.Info("stream created", "stream", r.cfg.Stream, "subjects", r.wantedSubjects())
	}
	return s, err
}

// checkStream names what is wrong with a stream and the command that repairs it.
func (r *Relay) checkStream(c *jetstream.StreamConfig) error {
	missing := slices.DeleteFunc(slices.Clone(r.wantedSubjects()), func(s string) bool { return stream.Covered(c.Subjects, s) })
	if len(missing) > 0 {
		all := strings.Join(append(slices.Clone(c.Subjects), missing...), ",")
		return fmt.Errorf("%w: stream %s does not cover subject %q; run: nats stream edit %s --subjects '%s'", ErrStream, c.Name, missing[0], c.Name, all)
	}
	var problem string
	switch {
	case c.NoAck:
		problem = "has no_ack, so that the relay cannot know the outcome of a publish; create another stream"
	case c.Sealed:
		problem = "is sealed; create another stream"
	case c.Mirror != nil:
		problem = "is a mirror; publish to its origin"
	case c.Retention != jetstream.LimitsPolicy && !r.cfg.Shared:
		problem = fmt.Sprintf("has %s retention, which removes what consumers acknowledge; create a stream with limits retention, or run outbox relay with --chain=off", c.Retention)
	default:
		return nil
	}
	return fmt.Errorf("%w: stream %s %s", ErrStream, c.Name, problem)
}

// streamGone reports whether the stream does not exist.
func streamGone(err error) bool { return errors.Is(err, jetstream.ErrStreamNotFound) }
