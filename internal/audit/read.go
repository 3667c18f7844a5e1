package audit

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	auditPage    = 8192 // messages
	auditRetries = 5    // in a row without a message
)

// entry is what an audit needs to know of a message.
type entry struct {
	sequence     uint64
	stored       time.Time
	position     int64
	id           uuid.UUID
	subject, key string
	marker       bool
	ours         bool // its headers are those of a relay
}

// newEntry reads only the headers that identify a message. Decoding all of an event would cost more than receiving it.
func newEntry(sequence uint64, stored time.Time, m jetstream.Msg) entry {
	h := m.Headers()
	e := entry{sequence: sequence, stored: stored, subject: m.Subject()}
	value := func(name string) string {
		if v := h[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	e.key, e.marker = value(event.HeaderKey), value(event.HeaderParked) != ""
	id := value(event.HeaderEventID)
	if id == "" {
		id = value(event.HeaderMsgID)
	}
	var idErr, positionErr error
	e.id, idErr = uuid.Parse(id)
	e.position, positionErr = strconv.ParseInt(value(event.HeaderPosition), 10, 64)
	e.ours = idErr == nil && positionErr == nil && e.position > 0
	return e
}

func (e *entry) finding(detail string) Finding {
	return Finding{EventID: e.id, Subject: e.subject, Key: e.key, Position: e.position, Sequence: e.sequence, Detail: detail}
}

// page is a run of messages with what the plan has at their positions.
type page struct {
	entries []entry
	plan    []planSpan
}

// planSpan is the plan from one position on.
type planSpan struct {
	first int64
	rows  []Row // one for each position
}

// at returns what the plan has at a position; nil if the table has no such row.
func (p *page) at(position int64) *Row {
	n, found := slices.BinarySearchFunc(p.plan, position, func(s planSpan, position int64) int {
		switch {
		case s.first > position:
			return 1
		case position >= s.first+int64(len(s.rows)):
			return -1
		}
		return 0
	})
	if !found {
		return nil
	}
	if row := &p.plan[n].rows[position-p.plan[n].first]; row.RowID != 0 {
		return row
	}
	return nil
}

// scan reads messages, loads what the plan has for them, and compares both. Three goroutines do that, so that the servers and this process work at
// the same time. scan waits for all of them.
func (a *Audit) scan(ctx context.Context, s stream.Span) error {
	if s.First > s.Last {
		return nil
	}
	group, ctx := errgroup.WithContext(ctx)
	read, loaded := make(chan []entry, 2), make(chan *page, 2)
	group.Go(func() error {
		defer close(read)
		return a.read(ctx, s, read)
	})
	group.Go(func() error {
		defer close(loaded)
		for entries := range read {
			p, err := a.load(ctx, entries)
			if err != nil {
				return err
			}
			select {
			case loaded <- p:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	group.Go(func() error {
		for p := range loaded {
			if err := a.cmp.compare(ctx, p); err != nil {
				return err
			}
			a.cfg.Progress(a.cmp.end-s.First+1, s.Last-s.First+1)
		}
		a.cmp.end = max(a.cmp.end, s.Last)
		return nil
	})
	return group.Wait()
}

// read sends pages of messages to out. After an error it continues where it was.
func (a *Audit) read(ctx context.Context, s stream.Span, out chan<- []entry) error {
	next, failed := s.First, 0
	for next <= s.Last {
		before := next
		err := a.readFrom(ctx, stream.Span{First: next, Last: s.Last}, out, &next)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if failed++; next > before {
			failed = 1
		}
		if failed == auditRetries {
			return err
		}
		_ = wait.For(ctx, stream.RequestTimeout/2)
	}
	return nil
}

func (a *Audit) readFrom(ctx context.Context, s stream.Span, out chan<- []entry, next *uint64) error {
	consumer, err := a.stream.Scan(ctx, s)
	if err != nil {
		return err
	}
	defer consumer.Close()
	consumer.Wait = stream.RequestTimeout
	for {
		entries := make([]entry, 0, min(s.Last-*next+1, auditPage))
		n, err := consumer.Pull(ctx, auditPage, func(sequence uint64, stored time.Time, m jetstream.Msg) {
			entries = append(entries, newEntry(sequence, stored, m))
		})
		if len(entries) > 0 {
			select {
			case out <- entries:
				*next = entries[len(entries)-1].sequence + 1
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil || n == 0 {
			return err
		}
	}
}

// load reads what the plan has at the positions of messages.
func (a *Audit) load(ctx context.Context, entries []entry) (*page, error) {
	p := &page{entries: entries}
	positions := make([]int64, 0, len(entries))
	for i := range entries {
		if e := &entries[i]; e.ours {
			positions = append(positions, e.position)
		}
	}
	if !slices.IsSorted(positions) {
		slices.Sort(positions)
	}
	var first, last []int64
	for _, position := range positions {
		if n := len(last); n > 0 && position <= last[n-1]+64 { // a few more rows cost less than another span
			last[n-1] = max(last[n-1], position)
			continue
		}
		first, last = append(first, position), append(last, position)
	}
	for i := range first {
		p.plan = append(p.plan, planSpan{first: first[i], rows: make([]Row, last[i]-first[i]+1)})
	}
	if len(first) == 0 {
		return p, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 2*queryTimeout)
	defer cancel()
	at := 0
	err := a.table.Plan(ctx, a.pool, first, last, func(row Row) {
		for s := &p.plan[at]; row.Position < s.first || row.Position >= s.first+int64(len(s.rows)); s = &p.plan[at] {
			at = (at + 1) % len(p.plan)
		}
		p.plan[at].rows[row.Position-p.plan[at].first] = row
	})
	if err != nil {
		return nil, fmt.Errorf("messages from sequence %d: %w", entries[0].sequence, err)
	}
	return p, nil
}
