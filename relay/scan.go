package relay

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// scanPage is how many messages are held against the plan at a time.
const scanPage = 2048

// found is what a scan of the end of a stream says.
type found struct {
	last    int64   // position of the last message that is what the plan has there
	foreign []int64 // positions that have something else in their place
}

// scan holds the messages behind a known position against the plan. A message that is gone (expired, purged) is taken
// for what belonged there.
func (r *Relay) scan(ctx context.Context, t *target, log baseLog, known int64) (*found, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	f := &found{last: known}
	base, _ := log.baseOf(known + 1)
	from := max(uint64(max(known+base, 0))+1, t.first, 1)
	if from > t.last { // nothing there, or nothing left
		if p, _ := log.positionAt(t.last); p > f.last {
			f.last = p
		}
		return f, nil
	}
	consumer, err := r.scanner(ctx, from)
	if err != nil {
		return nil, err
	}
	defer consumer.close()
	for next := from; next <= t.last; {
		page, err := consumer.fetch(ctx)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		if next, err = r.compare(ctx, log, page, f); err != nil {
			return nil, err
		}
	}
	if foreign := len(f.foreign); foreign > 0 {
		r.stats.foreign.Add(uint64(foreign))
		r.log.Warn("stream holds messages that are not ours, or not what the plan has", "stream", r.cfg.Stream, "n", foreign)
	}
	return f, nil
}

// compare holds a page of messages against the plan, and says which sequence comes next.
func (r *Relay) compare(ctx context.Context, log baseLog, page []stored, f *found) (next uint64, err error) {
	first, _ := log.positionAt(page[0].sequence)
	last, _ := log.positionAt(page[len(page)-1].sequence)
	plan := make(map[int64]outbox.Planned, last-first+1)
	for p := max(first, 1); p <= last; {
		events, err := r.load(ctx, p, outbox.Page{Events: int(last - p + 1), Bytes: r.cfg.BatchBytes})
		if err != nil {
			return 0, err
		}
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			e.Payload = nil
			plan[e.Position] = e
			p = e.Position + 1
		}
	}
	for i := range page {
		m := &page[i]
		next = m.sequence + 1
		position, belongs := log.positionAt(m.sequence)
		planned, ok := plan[position]
		switch {
		case !belongs: // a foreign message that the log knows of
		case ok && m.ours && m.event.Position == position && m.event.ID == planned.ID,
			ok && planned.Parked == outbox.Displaced:
			f.last = position
		default:
			f.foreign = append(f.foreign, position)
		}
	}
	return next, nil
}

// load is outbox.Table.Load with a deadline.
func (r *Relay) load(ctx context.Context, from int64, page outbox.Page) ([]outbox.Planned, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Load(ctx, r.pool, from, page)
}

// replan gives the events before the last good message that have something else in their place a new position.
func (r *Relay) replan(ctx context.Context, f *found) error {
	var displaced []outbox.Planned
	for _, position := range f.foreign {
		if position > f.last {
			break
		}
		at, err := r.load(ctx, position, outbox.Page{Events: 1, Bytes: 1})
		if err != nil {
			return err
		}
		if len(at) == 1 && at[0].Position == position && at[0].Parked == "" {
			displaced = append(displaced, at[0])
		}
	}
	if len(displaced) == 0 {
		return nil
	}
	r.log.Warn("foreign messages stand where events belong: those are published at the end", "stream", r.cfg.Stream, "n", len(displaced))
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return r.table.Replan(ctx, r.pool, displaced, r.cfg.Name)
}

// scanner reads a stream's headers from a sequence on.
type scanner struct {
	js       jetstream.JetStream
	consumer jetstream.Consumer
	left     uint64
}

func (r *Relay) scanner(ctx context.Context, from uint64) (*scanner, error) {
	js, err := jetstream.New(r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout) // of its own: an answer can get lost with its connection
	defer cancel()
	c, err := js.CreateConsumer(ctx, r.cfg.Stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: from,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return nil, fmt.Errorf("scan stream %s: %w", r.cfg.Stream, err)
	}
	return &scanner{js: js, consumer: c, left: c.CachedInfo().NumPending}, nil
}

func (s *scanner) close() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	info := s.consumer.CachedInfo()
	_ = s.js.DeleteConsumer(ctx, info.Stream, info.Name) // it ends by itself after InactiveThreshold
}

// fetch returns the next page, none at the end.
func (s *scanner) fetch(ctx context.Context) ([]stored, error) {
	if s.left == 0 {
		return nil, nil
	}
	batch, err := s.consumer.Fetch(int(min(s.left, scanPage)), jetstream.FetchMaxWait(requestTimeout))
	if err != nil {
		return nil, fmt.Errorf("scan stream: %w", err)
	}
	var page []stored
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return nil, fmt.Errorf("scan stream: %w", err)
		}
		page = append(page, read(meta.Sequence.Stream, m.Subject(), m.Headers(), nil))
	}
	if err := batch.Error(); err != nil {
		return nil, fmt.Errorf("scan stream: %w", err)
	}
	if len(page) == 0 {
		return nil, fmt.Errorf("scan stream: %d messages did not come within %v", s.left, requestTimeout)
	}
	s.left -= uint64(len(page))
	return page, nil
}
