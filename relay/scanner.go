package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// scanPage is how many messages are held against the plan at a time.
	scanPage = 2048
	// maxUnread is how many sequences, after which nothing comes, are asked for one by one.
	maxUnread = 10_000
)

// scanner reads the headers of a span of a stream, in order.
type scanner struct {
	r        *Relay
	js       jetstream.JetStream
	consumer jetstream.Consumer
	next     uint64
	last     uint64
	// wait is how long a page may take: a server that goes away is noticed then. 0 asks for what is there, and waits for as long as the
	// server takes.
	wait time.Duration
	left uint64 // messages that were there when it began, and have not come
}

func (r *Relay) scanner(ctx context.Context, s span) (*scanner, error) {
	js, err := jetstream.New(r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // of its own: an answer can get lost with its connection
	defer cancel()
	c, err := js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.first,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("scan stream %s: %w", r.cfg.Stream, err)
	}
	return &scanner{r: r, js: js, consumer: c, next: s.first, last: s.last, left: c.CachedInfo().NumPending}, nil
}

func (s *scanner) close() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	info := s.consumer.CachedInfo()
	_ = s.js.DeleteConsumer(ctx, info.Stream, info.Name) // it ends by itself after InactiveThreshold
}

// fetch returns the next page, none at the end. Messages that are gone do not come, nor do those whose bytes in the
// server's files are damaged, though the server counts these.
func (s *scanner) fetch(ctx context.Context) (page []stored, err error) {
	_, err = s.pull(ctx, scanPage, func(sequence uint64, _ time.Time, m jetstream.Msg) {
		page = append(page, read(sequence, m.Subject(), m.Headers(), nil))
	})
	return page, err
}

// pull hands the next messages, at most so many, to each, and says how many these were: none at the end.
func (s *scanner) pull(ctx context.Context, most uint64, each func(sequence uint64, stored time.Time, m jetstream.Msg)) (n int, err error) {
	if s.next > s.last || ctx.Err() != nil {
		return 0, ctx.Err()
	}
	fetch, want := s.consumer.FetchNoWait, int(min(s.last-s.next+1, most))
	if s.wait > 0 {
		if s.left > 0 { // for what is not there nobody waits
			want = int(min(uint64(want), s.left))
		}
		fetch = func(n int) (jetstream.MessageBatch, error) {
			return s.consumer.Fetch(n, jetstream.FetchMaxWait(s.wait))
		}
	}
	batch, err := fetch(want)
	if err != nil {
		return 0, fmt.Errorf("scan stream: %w", err)
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return n, fmt.Errorf("scan stream: %w", err)
		}
		if s.next = meta.Sequence.Stream + 1; meta.Sequence.Stream <= s.last {
			n++
			s.left -= min(s.left, 1)
			each(meta.Sequence.Stream, meta.Timestamp, m)
		}
	}
	if err := batch.Error(); err != nil {
		return n, fmt.Errorf("scan stream: %w", err)
	}
	if n == 0 {
		return 0, s.atEnd(ctx)
	}
	return n, nil
}

// atEnd makes sure that nothing comes because nothing is there.
func (s *scanner) atEnd(ctx context.Context) error {
	if s.wait > 0 {
		info, cancel := context.WithTimeout(ctx, requestTimeout)
		now, err := s.consumer.Info(info)
		cancel()
		if err != nil {
			return fmt.Errorf("scan stream %s: %w", s.r.cfg.Stream, err)
		}
		if now.NumPending == 0 {
			return nil
		}
	}
	for ; s.next <= s.last; s.next++ {
		m, err := s.r.message(ctx, s.next)
		if err != nil {
			return err
		}
		if m != nil || s.last-s.next > maxUnread {
			return fmt.Errorf("scan stream %s: messages from sequence %d on did not come", s.r.cfg.Stream, s.next)
		}
	}
	return nil
}
