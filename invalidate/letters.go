package invalidate

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
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// ReasonPoison is the reason of every dead letter; its detail says more.
const ReasonPoison = "poison"

const (
	lettersPage     = 256             // letters asked for at once
	lettersPatience = 5 * time.Second // for the next of them
	headerSize      = "Nats-Msg-Size" // of the body that was left out of headers only
)

// ErrLettersRemade says that the dead-letter stream was deleted and made again while it was read: its sequences mean
// other letters now.
var ErrLettersRemade = errors.New("dead-letter stream was deleted and made again")

// Letters is the outbox.DeadPlace of the dead letters of one stream. Open it with OpenLetters; it serves one goroutine at a
// time.
type Letters struct {
	stream  jetstream.Stream // nil: it does not exist, and nothing is dead
	subject string
	source  string
	created time.Time
	last    uint64
}

// letterCopies is the name space of the ids that copies of letters have.
var letterCopies = uuid.MustParse("5a9d6d0c-5f0b-4c7e-8a44-0c7f1f6c6a52")

// OpenLetters looks how far the dead letters of a stream go. deadStream is empty for Config's default. A dead-letter
// stream that does not exist has no letters.
func OpenLetters(ctx context.Context, js jetstream.JetStream, stream, deadStream string) (*Letters, error) {
	deadStream = cmp.Or(deadStream, stream+"_DEAD")
	l := &Letters{subject: DeadPrefix + stream}
	s, err := js.Stream(ctx, deadStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read dead-letter stream %s: %w", deadStream, err)
	}
	info := s.CachedInfo()
	l.stream, l.created, l.last = s, info.Created, info.State.LastSeq
	l.source = info.Config.Name + "@" + info.Created.UTC().Format(time.RFC3339Nano)
	return l, nil
}

// Scan implements outbox.DeadPlace. It reads the headers of every letter above after.
func (l *Letters) Scan(ctx context.Context, f *outbox.DeadFilter, after int64) iter.Seq2[outbox.Dead, error] {
	return func(yield func(outbox.Dead, error) bool) {
		if l.stream == nil || uint64(after) >= l.last {
			return
		}
		err := l.pages(ctx, uint64(after)+1, func(msg jetstream.Msg, meta *jetstream.MsgMetadata) bool {
			if meta.Sequence.Stream > l.last {
				return false
			}
			d := l.dead(msg.Headers(), meta.Sequence.Stream, meta.Timestamp)
			return !f.Takes(&d) || yield(d, nil)
		})
		if err != nil {
			yield(outbox.Dead{}, fmt.Errorf("list dead letters: %w", err))
		}
	}
}

// pages reads the letters from a sequence on, headers only, until each returns false or there are no more. Its consumer
// lives as long as it does.
func (l *Letters) pages(ctx context.Context, first uint64, each func(jetstream.Msg, *jetstream.MsgMetadata) bool) error {
	cons, err := l.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: first, FilterSubject: l.subject, HeadersOnly: true,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	defer l.drop(cons.CachedInfo().Name)
	received, heard := uint64(0), time.Now()
	for pending := cons.CachedInfo().NumPending; pending > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		page, err := cons.FetchNoWait(lettersPage)
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
				return errors.New("fetch letters: some were lost on the way; try again")
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
		if time.Since(heard) > lettersPatience {
			return fmt.Errorf("fetch letters: no answer for %v, %d to come", lettersPatience, pending)
		}
		info, err := cons.Info(ctx) // they may have been deleted meanwhile
		if err != nil {
			return fmt.Errorf("look at the consumer: %w", err)
		}
		pending = info.NumPending
	}
	return nil
}

// drop deletes the consumer, as well as it can: the server does it after a minute.
func (l *Letters) drop(consumer string) {
	ctx, cancel := context.WithTimeout(context.Background(), deadTimeout)
	defer cancel()
	_ = l.stream.DeleteConsumer(ctx, consumer)
}

// dead is what the headers of a letter say.
func (l *Letters) dead(header nats.Header, sequence uint64, stored time.Time) outbox.Dead {
	event, err := eventOf(header, nil)
	d := outbox.Dead{
		Event: event, Place: outbox.LettersPlace, Source: l.source, Number: int64(sequence), Reason: ReasonPoison,
		Detail: header.Get(HeaderDeadReason), By: header.Get(HeaderDeadConsumer), Since: stored, Stored: stored, Flaw: err,
	}
	d.Sequence, _ = strconv.ParseUint(header.Get(HeaderDeadSequence), 10, 64) // 0 when it says nothing
	if at, err := time.Parse(time.RFC3339Nano, header.Get(HeaderDeadTime)); err == nil {
		d.Since = at
	}
	for _, name := range []string{HeaderDeadOmitted, headerSize} {
		if n, err := strconv.Atoi(header.Get(name)); err == nil && d.Size == 0 {
			d.Size = n
		}
	}
	d.Copy = uuid.NewSHA1(letterCopies, fmt.Appendf(nil, "%s\n%d\n%d\n%s", l.source, sequence, stored.UnixNano(), d.ID))
	return d
}

// eventOf reads the event of a letter, as it was before it died.
func eventOf(header nats.Header, body []byte) (outbox.Event, error) {
	own := maps.Clone(header)
	maps.DeleteFunc(own, func(name string, _ []string) bool {
		return strings.HasPrefix(name, "Outbox-Dead-") || name == outbox.HeaderMsgID
	})
	subject := header.Get(HeaderDeadSubject)
	event, err := outbox.Parse(subject, own, body)
	if err != nil {
		return outbox.Event{Subject: subject, Payload: body}, err
	}
	return event, nil
}

// Load implements outbox.DeadPlace: it reads letters whole, one by one.
func (l *Letters) Load(ctx context.Context, dead []outbox.Dead) error {
	for i := range dead {
		d := &dead[i]
		msg, err := l.stream.GetMsg(ctx, uint64(d.Number))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			d.Flaw = errors.New("the letter is no longer in its stream")
			continue
		}
		if err != nil {
			return fmt.Errorf("read dead letter %d: %w", d.Number, err)
		}
		event, err := eventOf(msg.Header, msg.Data)
		if bytes := msg.Header.Get(HeaderDeadOmitted); bytes != "" && err == nil {
			err = fmt.Errorf("its payload of %s bytes did not fit the letter, and the table has it no longer", bytes)
		}
		d.Event, d.Flaw = event, err
	}
	return nil
}

// Forget implements outbox.DeadPlace: it deletes letters from their stream.
func (l *Letters) Forget(ctx context.Context, dead []outbox.Dead) error {
	if len(dead) == 0 {
		return nil
	}
	info, err := l.stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("delete dead letters: %w", err)
	}
	if !info.Created.Equal(l.created) {
		return fmt.Errorf("delete dead letters: %w", ErrLettersRemade)
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
		return nil // it is gone already
	}
	return err
}
