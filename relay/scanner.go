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
	return &scanner{r: r, js: js, consumer: c, next: s.first, last: s.last}, nil
}

func (s *scanner) close() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	info := s.consumer.CachedInfo()
	_ = s.js.DeleteConsumer(ctx, info.Stream, info.Name) // it ends by itself after InactiveThreshold
}

// fetch returns the next page, none at the end. Messages that are gone do not come, nor do those whose bytes in the
// server's files are damaged, though the server counts these.
func (s *scanner) fetch(ctx context.Context) ([]stored, error) {
	if s.next > s.last || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	batch, err := s.consumer.FetchNoWait(int(min(s.last-s.next+1, scanPage)))
	if err != nil {
		return nil, fmt.Errorf("scan stream: %w", err)
	}
	var page []stored
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("scan stream: %w", err)
		}
		if s.next = meta.Sequence.Stream + 1; meta.Sequence.Stream <= s.last {
			page = append(page, read(meta.Sequence.Stream, m.Subject(), m.Headers(), nil))
		}
	}
	if err := batch.Error(); err != nil {
		return nil, fmt.Errorf("scan stream: %w", err)
	}
	if len(page) == 0 {
		return nil, s.atEnd(ctx)
	}
	return page, nil
}

// atEnd makes sure that nothing comes because nothing is there.
func (s *scanner) atEnd(ctx context.Context) error {
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
