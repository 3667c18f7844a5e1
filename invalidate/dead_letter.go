package invalidate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	deadWindow  = 2 * time.Minute // the server drops a second copy of a dead letter within this time
	deadTimeout = 2 * time.Second // for one dead letter: a stream that does not answer delays the other events so long …
	deadPause   = time.Minute     // … and in the long run only once per deadPause
	maxReason   = 1024            // bytes of event.HeaderDeadReason
)

// deadLetters moves poison messages to the dead-letter stream: it publishes a copy, and terminates the message only
// after the stream has acknowledged the copy. If the stream does not take the copy, the message stays unacknowledged
// and the server redelivers it after AckWait. It belongs to the goroutine of the consumer.
type deadLetters struct {
	js  jetstream.JetStream
	cfg *Config
	log *slog.Logger

	durable string // the consumer that gives the messages up

	ready     bool                        // the stream exists
	notBefore time.Time                   // no attempt before: poison must not delay the other events
	retry     *backoff.ExponentialBackOff // of notBefore; nil after a success
}

// move dead-letters messages and returns how many it moved and how many it could not move.
func (d *deadLetters) move(ctx context.Context, poison []poisoned) (moved, left int) {
	if len(poison) == 0 {
		return 0, 0
	}
	if time.Now().Before(d.notBefore) {
		return 0, len(poison)
	}
	var err error
	for i := range poison {
		if err = d.moveOne(ctx, &poison[i]); err != nil {
			break
		}
		moved++
	}
	if moved > 0 {
		p := &poison[0]
		d.log.Warn("moved poison events to the dead-letter stream", "n", moved, "event_id", p.event.ID, "subject", p.event.Subject, "err", p.err)
	}
	d.schedule(err)
	return moved, len(poison) - moved
}

// schedule sets the time of the next attempt after an error, and logs the first error of a series.
func (d *deadLetters) schedule(err error) {
	if err == nil {
		d.notBefore, d.retry = time.Time{}, nil
		return
	}
	d.ready = false
	if d.retry == nil {
		d.retry = consume.NewBackoff(deadPause)
		d.log.Warn("dead-letter stream does not take poison events; they stay unacknowledged and are retried", "err", err)
	}
	d.notBefore = time.Now().Add(d.retry.NextBackOff())
}

func (d *deadLetters) moveOne(ctx context.Context, p *poisoned) error {
	meta, err := p.msg.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, deadTimeout)
	defer cancel()
	if err := d.ensure(ctx); err != nil {
		return err
	}
	letter := d.letter(p, meta)
	opts := []jetstream.PublishOpt{
		jetstream.WithExpectStream(d.cfg.DeadStream),
		// The time distinguishes the message from one with the same sequence after the stream was deleted and created
		// again.
		jetstream.WithMsgID(fmt.Sprintf("%s:%d:%s:%d", meta.Stream, meta.Sequence.Stream, d.durable, meta.Timestamp.UnixNano())),
	}
	_, err = d.js.PublishMsg(ctx, letter, opts...)
	if errors.Is(err, nats.ErrMaxPayload) {
		letter.Header.Set(event.HeaderDeadOmitted, strconv.Itoa(len(letter.Data)))
		letter.Data = nil
		_, err = d.js.PublishMsg(ctx, letter, opts...)
	}
	if err != nil {
		return fmt.Errorf("publish dead letter: %w", err)
	}
	crash.Point("buried")
	if err := p.msg.TermWithReason(letter.Header.Get(event.HeaderDeadReason)); err != nil {
		return fmt.Errorf("terminate message: %w", err)
	}
	return nil
}

// ensure creates the dead-letter stream if it is missing. It does not change an existing one.
func (d *deadLetters) ensure(ctx context.Context) error {
	if d.ready {
		return nil
	}
	_, err := d.js.Stream(ctx, d.cfg.DeadStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = d.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:        d.cfg.DeadStream,
			Description: "Events of " + d.cfg.Stream + " that an invalidator cannot process",
			Subjects:    []string{event.DeadPrefix + d.cfg.Stream},
			Storage:     jetstream.FileStorage,
			Retention:   jetstream.LimitsPolicy,
			Replicas:    d.cfg.Replicas,
			Duplicates:  deadWindow,
		})
	}
	if err != nil {
		return fmt.Errorf("ensure dead-letter stream %s: %w", d.cfg.DeadStream, err)
	}
	d.ready = true
	return nil
}

func (d *deadLetters) letter(p *poisoned, meta *jetstream.MsgMetadata) *nats.Msg {
	header := nats.Header{}
	for name, values := range p.msg.Headers() {
		if !strings.HasPrefix(name, "Nats-") {
			header[name] = values
		}
	}
	// The dead letter has a dedupe ID of its own, so the event ID needs another header.
	if p.event.ID != uuid.Nil {
		header.Set(event.HeaderEventID, p.event.ID.String())
	}
	header.Set(event.HeaderDeadReason, reason(p.err))
	header.Set(event.HeaderDeadConsumer, d.durable)
	header.Set(event.HeaderDeadSubject, p.msg.Subject())
	header.Set(event.HeaderDeadSequence, strconv.FormatUint(meta.Sequence.Stream, 10))
	header.Set(event.HeaderDeadTime, time.Now().UTC().Format(time.RFC3339Nano))
	return &nats.Msg{Subject: event.DeadPrefix + d.cfg.Stream, Header: header, Data: p.msg.Data()}
}

// reason formats an error as one line of at most maxReason bytes, so that it fits a header.
func reason(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", "; "), "?")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + " …"
	}
	return text
}
