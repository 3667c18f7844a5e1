package stream

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// scanPage is how many messages Fetch returns at most.
	scanPage = 2048
	// maxUnread is how many sequences at the end of a span, after which nothing comes, are requested one by one.
	maxUnread = 10_000
)

// Scanner reads the headers of a span of a stream, in order. One goroutine uses it, and must close it.
type Scanner struct {
	// Wait bounds a page, so that a scan notices within it that the server is gone. 0 requests only what is there
	// and waits until the server answers. It must be set before the first page.
	Wait time.Duration

	r        *Reader
	js       jetstream.JetStream
	consumer jetstream.Consumer
	next     uint64
	last     uint64
	left     uint64 // messages that were there when the scan began and have not come yet
}

// Scan opens a scanner of a span. Its consumer is in memory, acknowledges nothing, and ends by itself after a minute
// without a page.
func (r *Reader) Scan(ctx context.Context, s Span) (*Scanner, error) {
	js, err := jetstream.New(r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout) // the answer can be lost with its connection
	defer cancel()
	c, err := js.CreateConsumer(ctx, r.name, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.First,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("scan stream %s: %w", r.name, err)
	}
	return &Scanner{r: r, js: js, consumer: c, next: s.First, last: s.Last, left: c.CachedInfo().NumPending}, nil
}

// Close deletes the scanner's consumer.
func (s *Scanner) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), RequestTimeout)
	defer cancel()
	info := s.consumer.CachedInfo()
	_ = s.js.DeleteConsumer(ctx, info.Stream, info.Name) // it ends by itself after InactiveThreshold
}

// Fetch returns the next page, an empty one at the end. It leaves out messages that were removed, and those whose bytes in
// the server's files are damaged, although the server counts the latter.
func (s *Scanner) Fetch(ctx context.Context) (page []Message, err error) {
	_, err = s.Pull(ctx, scanPage, func(sequence uint64, _ time.Time, m jetstream.Msg) {
		page = append(page, newMessage(sequence, m.Subject(), m.Headers(), nil))
	})
	return page, err
}

// Pull passes the next messages, most of them at most, to each. It returns their number: 0 at the end.
func (s *Scanner) Pull(ctx context.Context, most uint64, each func(sequence uint64, stored time.Time, m jetstream.Msg)) (n int, err error) {
	if s.next > s.last || ctx.Err() != nil {
		return 0, ctx.Err()
	}
	fetch, want := s.consumer.FetchNoWait, int(min(s.last-s.next+1, most))
	if s.Wait > 0 {
		if s.left > 0 { // do not wait for messages that do not exist
			want = int(min(uint64(want), s.left))
		}
		fetch = func(n int) (jetstream.MessageBatch, error) {
			return s.consumer.Fetch(n, jetstream.FetchMaxWait(s.Wait))
		}
	}
	batch, err := fetch(want)
	if err != nil {
		return 0, fmt.Errorf("scan stream %s: %w", s.r.name, err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return n, fmt.Errorf("scan stream %s: %w", s.r.name, err)
		}
		if s.next = meta.Sequence.Stream + 1; meta.Sequence.Stream <= s.last {
			n++
			s.left -= min(s.left, 1)
			each(meta.Sequence.Stream, meta.Timestamp, m)
		}
	}
	if err := batch.Error(); err != nil {
		return n, fmt.Errorf("scan stream %s: %w", s.r.name, err)
	}
	if n == 0 {
		return 0, s.confirmEnd(ctx)
	}
	return n, nil
}

// confirmEnd returns an error unless the stream has no further message in the span. An empty page alone does not show that.
func (s *Scanner) confirmEnd(ctx context.Context) error {
	if s.Wait > 0 {
		info, cancel := context.WithTimeout(ctx, RequestTimeout)
		now, err := s.consumer.Info(info)
		cancel()
		if err != nil {
			return fmt.Errorf("scan stream %s: %w", s.r.name, err)
		}
		if now.NumPending == 0 {
			return nil
		}
	}
	for ; s.next <= s.last; s.next++ {
		m, err := s.r.Message(ctx, s.next)
		if err != nil {
			return err
		}
		if m != nil || s.last-s.next > maxUnread {
			return fmt.Errorf("scan stream %s: the server did not deliver the messages from sequence %d on", s.r.name, s.next)
		}
	}
	return nil
}

// Unreadable reads a span and returns the sequences whose messages did not come, apart from those that the server
// reports as deleted. A server does not check each message in its files when it starts: only a reader finds a damaged one.
func (r *Reader) Unreadable(ctx context.Context, s Span) (Spans, error) {
	if s.Last < s.First {
		return nil, nil
	}
	scanner, err := r.Scan(ctx, s)
	if err != nil {
		return nil, err
	}
	defer scanner.Close()
	var missing Spans
	next := s.First
	for next <= s.Last {
		page, err := scanner.Fetch(ctx)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		for i := range page {
			missing.Add(next, page[i].Sequence-1)
			next = page[i].Sequence + 1
		}
	}
	if missing.Add(next, s.Last); len(missing) == 0 {
		return nil, nil
	}
	deleted, err := r.Deleted(ctx)
	if err != nil {
		return nil, err
	}
	now, err := r.Info(ctx, nil)
	if err != nil {
		return nil, err
	}
	return missing.Without(deleted).From(now.State.FirstSeq), nil // the first sequence covers what was dropped meanwhile
}
