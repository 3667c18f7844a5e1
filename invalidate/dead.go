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

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	deadWindow  = 2 * time.Minute // in which a second copy of a dead letter is dropped
	deadTimeout = 2 * time.Second // for one dead letter: what a stream that hangs may cost the others …
	deadPause   = time.Minute     // … and how often at most
	maxReason   = 1024            // bytes of a reason
)

// deadLetters takes poison out of the way: a copy goes to the dead-letter stream, and only when that has
// acknowledged it, the message is terminated. If the stream cannot take it, the message stays unacknowledged
// and comes again after AckWait. It belongs to the goroutine that works.
type deadLetters struct {
	js  jetstream.JetStream
	cfg *Config
	log *slog.Logger

	durable string // who gives up on the message

	ready bool                        // the stream was there
	quiet time.Time                   // no attempt before: poison must not hold the others up
	retry *backoff.ExponentialBackOff // of quiet; nil while all is well
}

// bury dead-letters messages and returns how many, and how many it could not.
func (d *deadLetters) bury(ctx context.Context, poison []poisoned) (buried, left int) {
	if len(poison) == 0 {
		return 0, 0
	}
	if time.Now().Before(d.quiet) {
		return 0, len(poison)
	}
	var err error
	for i := range poison {
		if err = d.buryOne(ctx, &poison[i]); err != nil {
			break
		}
		buried++
	}
	if buried > 0 {
		p := &poison[0]
		d.log.Warn("dead-lettered poison events", "n", buried, "event_id", p.event.ID, "subject", p.event.Subject, "err", p.err)
	}
	d.pace(err)
	return buried, len(poison) - buried
}

// pace puts the next attempt off after an error, and says so once.
func (d *deadLetters) pace(err error) {
	if err == nil {
		d.quiet, d.retry = time.Time{}, nil
		return
	}
	d.ready = false
	if d.retry == nil {
		d.retry = newBackoff(deadPause)
		d.log.Warn("dead-letter stream cannot take poison events, they stay unacknowledged", "err", err)
	}
	d.quiet = time.Now().Add(d.retry.NextBackOff())
}

func (d *deadLetters) buryOne(ctx context.Context, p *poisoned) error {
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
		// The time tells it from the message that has this sequence after the stream was deleted and made again.
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
		return fmt.Errorf("terminate msg: %w", err)
	}
	return nil
}

// ensure makes the dead-letter stream if it is missing, and leaves one that is there as it is.
func (d *deadLetters) ensure(ctx context.Context) error {
	if d.ready {
		return nil
	}
	_, err := d.js.Stream(ctx, d.cfg.DeadStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = d.js.CreateStream(ctx, jetstream.StreamConfig{
			Name:        d.cfg.DeadStream,
			Description: "Events of " + d.cfg.Stream + " that a consumer can never work off",
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
	// The dedupe id becomes that of the letter, so the event id has to move to its own header.
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

// reason makes one line of an error that fits a header.
func reason(err error) string {
	text := strings.ToValidUTF8(strings.ReplaceAll(err.Error(), "\n", "; "), "?")
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + " …"
	}
	return text
}
