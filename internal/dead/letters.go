package dead

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// ReasonPoison is the reason of every dead letter. Its detail has the error of the consumer.
const ReasonPoison = "poison"

const (
	dropTimeout    = 2 * time.Second // for deleting the consumer
	letterPage     = 256             // letters per request
	letterPatience = 5 * time.Second // wait for the next letter
	headerSize     = "Nats-Msg-Size" // size of the body that a headers-only consumer leaves out
)

// ErrRecreated means that the dead-letter stream was deleted and created again after it was opened, so that its
// sequences belong to other letters.
var ErrRecreated = errors.New("dead-letter stream was deleted and created again")

// Letters is the Source of the dead letters of one stream. Not safe for concurrent use.
type Letters struct {
	stream  jetstream.Stream // nil: it does not exist, and nothing is dead
	subject string
	origin  string
	created time.Time
	last    uint64
}

// letterCopies is the name space of the ids of copies of dead letters.
var letterCopies = uuid.MustParse("5a9d6d0c-5f0b-4c7e-8a44-0c7f1f6c6a52")

// OpenLetters opens the source of the dead letters of a stream. An empty deadStream defaults to the name of the
// stream followed by _DEAD. If it does not exist, there are no dead letters.
func OpenLetters(ctx context.Context, js jetstream.JetStream, stream, deadStream string) (*Letters, error) {
	deadStream = cmp.Or(deadStream, stream+"_DEAD")
	l := &Letters{subject: event.DeadPrefix + stream}
	s, err := js.Stream(ctx, deadStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dead-letter stream %s: %w", deadStream, err)
	}
	info := s.CachedInfo()
	l.stream, l.created, l.last = s, info.Created, info.State.LastSeq
	l.origin = info.Config.Name + "@" + info.Created.UTC().Format(time.RFC3339Nano)
	return l, nil
}

// Scan implements Source. It reads the headers of every letter with a sequence above after.
func (l *Letters) Scan(ctx context.Context, f *Filter, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if l.stream == nil || uint64(after) >= l.last {
			return
		}
		err := l.pages(ctx, uint64(after)+1, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) bool {
			if meta.Sequence.Stream > l.last {
				return false
			}
			d := l.dead(msg.Headers(), meta.Sequence.Stream, meta.Timestamp)
			return !f.Matches(&d) || yield(d, nil)
		})
		if err != nil {
			yield(Event{}, fmt.Errorf("list dead letters: %w", err))
		}
	}
}

// pages passes the headers of the letters from sequence first on to each, until it returns false or there are no
// more. It deletes its consumer when it returns.
func (l *Letters) pages(ctx context.Context, first uint64, each func(jetstream.Msg, *jetstream.MsgMetadata) bool) error {
	cons, err := l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first, FilterSubject: l.subject, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("create a consumer: %w", err)
	}
	defer l.drop(cons.CachedInfo().Name)
	received, heard := uint64(0), time.Now()
	for pending := cons.CachedInfo().NumPending; pending > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := cons.FetchNoWait(letterPage)
		if err != nil {
			return fmt.Errorf("fetch letters: %w", err)
		}
		more, got := true, false
		for msg := range page.Messages() {
			meta, err := msg.Metadata()
			if err != nil {
				return fmt.Errorf("read metadata: %w", err)
			}
			if received++; meta.Sequence.Consumer != received {
				return errors.New("fetch letters: some did not arrive; run the command again")
			}
			got, pending, heard = true, meta.NumPending, time.Now()
			if more = more && each(msg, meta); !more {
				return nil
			}
		}
		if err := page.Error(); err != nil {
			return fmt.Errorf("fetch letters: %w", err)
		}
		if got {
			continue
		}
		if time.Since(heard) > letterPatience {
			return fmt.Errorf("fetch letters: no letter within %v, %d expected", letterPatience, pending)
		}
		info, err := cons.Info(ctx) // letters may have been deleted meanwhile
		if err != nil {
			return fmt.Errorf("read the state of the consumer: %w", err)
		}
		pending = info.NumPending
	}
	return nil
}

// drop deletes the consumer. If that fails, the server deletes it after a minute.
func (l *Letters) drop(consumer string) {
	ctx, cancel := context.WithTimeout(context.Background(), dropTimeout)
	defer cancel()
	_ = l.stream.DeleteConsumer(ctx, consumer)
}

// dead returns the dead event of a letter, from its headers.
func (l *Letters) dead(header nats.Header, sequence uint64, stored time.Time) Event {
	parsed, err := eventOf(header, nil)
	d := Event{
		Event: parsed, Source: SourceDeadLetters, Origin: l.origin, Number: int64(sequence), Reason: ReasonPoison,
		Detail: header.Get(event.HeaderDeadReason), By: header.Get(event.HeaderDeadConsumer), Since: stored, Stored: stored, Flaw: err,
	}
	d.Sequence, _ = strconv.ParseUint(header.Get(event.HeaderDeadSequence), 10, 64) // 0 without the header
	if at, err := time.Parse(time.RFC3339Nano, header.Get(event.HeaderDeadTime)); err == nil {
		d.Since = at
	}
	for _, name := range []string{event.HeaderDeadOmitted, headerSize} {
		if n, err := strconv.Atoi(header.Get(name)); err == nil && d.Size == 0 {
			d.Size = n
		}
	}
	d.Copy = uuid.NewSHA1(letterCopies, fmt.Appendf(nil, "%s\n%d\n%d\n%s", l.origin, sequence, stored.UnixNano(), d.ID))
	return d
}

// eventOf returns the original event of a letter.
func eventOf(header nats.Header, body []byte) (event.Event, error) {
	own := maps.Clone(header)
	maps.DeleteFunc(own, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "Outbox-Dead-") || name == event.HeaderMsgID
	})
	subject := header.Get(event.HeaderDeadSubject)
	parsed, err := event.Parse(subject, own, body)
	if err != nil {
		return event.Event{Subject: subject, Payload: body}, err
	}
	return parsed, nil
}

// Load implements Source. It reads each letter with its body.
func (l *Letters) Load(ctx context.Context, dead []Event) error {
	for i := range dead {
		d := &dead[i]
		msg, err := l.stream.GetMsg(ctx, uint64(d.Number))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			d.Flaw = errors.New("the dead letter is no longer in its stream")
			continue
		}
		if err != nil {
			return fmt.Errorf("read dead letter %d: %w", d.Number, err)
		}
		parsed, err := eventOf(msg.Header, msg.Data)
		if bytes := msg.Header.Get(event.HeaderDeadOmitted); bytes != "" && err == nil {
			err = fmt.Errorf("its payload of %s bytes exceeded the size of a dead letter, and retention has dropped its row", bytes)
		}
		d.Event, d.Flaw = parsed, err
	}
	return nil
}

// Forget implements Source. It deletes letters from their stream.
func (l *Letters) Forget(ctx context.Context, dead []Event) error {
	if len(dead) == 0 {
		return nil
	}
	info, err := l.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("delete dead letters: %w", err)
	}
	if !info.Created.Equal(l.created) {
		return fmt.Errorf("delete dead letters: %w", ErrRecreated)
	}
	crash.Point("decided")
	for i := range dead {
		if err := l.forget(ctx, uint64(dead[i].Number)); err != nil {
			return fmt.Errorf("delete dead letter %d: %w", dead[i].Number, err)
		}
	}
	return nil
}

func (l *Letters) forget(ctx context.Context, sequence uint64) error {
	err := l.stream.DeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, missing := l.stream.GetMsg(ctx, sequence); errors.Is(missing, jetstream.ErrMsgNotFound) {
		return nil // it was deleted before
	}
	return err
}
