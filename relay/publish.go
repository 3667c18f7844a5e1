package relay

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// publisher publishes planned events in order, with a window of unacknowledged ones, and ends with the first doubt.
// One goroutine owns all of it; acks reach it through a channel.
type publisher struct {
	r         *Relay
	at        *origin
	win       *window
	rec       *recorder
	inbox     string
	replies   [replies]string // subjects of acks, used in turn
	acks      chan *nats.Msg
	msg       nats.Msg // reused: publishing copies it
	headers   event.HeaderWriter
	stream    []string // value of Nats-Expected-Stream
	last      []string // value of Nats-Expected-Last-Sequence
	ackPrefix []byte   // of the answer to a successful publish
	progress  time.Time
	freshID   int64 // the position that needs a fresh message id; 0 for none
}

// quiet is how long the relay must publish nothing before the next message goes alone. Without this pause each small batch would cost a round
// trip, only for a foreign message that may come just then. A relay that has met foreign messages accepts that cost.
const quiet = 100 * time.Millisecond

// errLost reports that the connection to the broker broke with messages in flight.
var errLost = errors.New("connection to the broker lost")

// publish runs a window from its origin until batches is closed and everything is acknowledged (nil), until there is a doubt
// (*doubt), or until ctx ends.
func (r *Relay) publish(ctx context.Context, at *origin, batches <-chan []table.Planned, rec *recorder, freshID int64, lost <-chan nats.Status, changed <-chan error) error {
	p := &publisher{
		r: r, at: at, rec: rec, freshID: freshID, progress: time.Now(),
		win:       newWindow(r.cfg.WindowEvents, r.cfg.WindowBytes, at.next),
		inbox:     r.nc.NewInbox() + ".",
		acks:      make(chan *nats.Msg, r.cfg.WindowEvents+1), // at most one ack per message in flight
		stream:    []string{r.cfg.Stream},
		last:      make([]string, 1),
		ackPrefix: fmt.Appendf(nil, `{"stream":%q,"seq":`, r.cfg.Stream),
	}
	for i := range p.replies {
		p.replies[i] = p.inbox + strconv.Itoa(i)
	}
	sub, err := r.nc.ChanSubscribe(p.inbox+"*", p.acks)
	if err != nil {
		return p.doubtAt(at.next, unavailable, fmt.Errorf("subscribe to acks: %w", err))
	}
	defer func() {
		_ = sub.Unsubscribe() // fails only on a closed connection
		r.stats.inFlight.Store(0)
	}()
	return p.run(ctx, batches, lost, changed)
}

func (p *publisher) run(ctx context.Context, batches <-chan []table.Planned, lost <-chan nats.Status, changed <-chan error) error {
	check := time.NewTicker(p.r.cfg.AckWait / 4)
	defer check.Stop()
	in := batches
	var todo []table.Planned
	for {
		if in == nil && len(todo) == 0 && p.win.len() == 0 {
			return nil
		}
		for len(todo) > 0 && !p.win.full() {
			if err := p.send(ctx, &todo[0]); err != nil {
				return err
			}
			todo = todo[1:]
		}
		p.r.stats.inFlight.Store(int64(p.win.len()))
		next := in
		if len(todo) > 0 {
			next = nil
		}
		select {
		case batch, ok := <-next:
			if !ok {
				in = nil
				continue
			}
			if p.win.len() == 0 {
				now := time.Now()
				p.win.probe = p.win.probe || now.Sub(p.progress) > quiet || p.r.stats.foreign.Load() > 0
				p.progress = now
			}
			todo = batch
		case m := <-p.acks:
			if err := p.ackedAll(m); err != nil {
				p.quiesce(ctx, lost)
				return err
			}
		case <-check.C:
			if wait := time.Since(p.progress); p.win.len() > 0 && wait > p.r.cfg.AckWait {
				return p.doubtAt(p.win.first, unknown, p.silence(wait))
			}
		case <-lost:
			return p.doubtAt(p.win.first, unknown, errLost)
		case err := <-changed:
			p.quiesce(ctx, lost)
			return p.doubtAt(p.win.first, unknown, err)
		case <-ctx.Done():
			return p.doubtAt(p.win.first, unknown, ctx.Err())
		}
	}
}

// silence is the error for a missing ack. A server reports a publish that permissions forbid to the connection only.
func (p *publisher) silence(wait time.Duration) error {
	err := fmt.Errorf("no ack for %v", wait.Round(time.Millisecond))
	if last := p.r.nc.LastError(); errors.Is(last, nats.ErrPermissionViolation) {
		return fmt.Errorf("%w; the server reported: %w", err, last)
	}
	return err
}

func (p *publisher) doubtAt(position int64, class class, err error) *doubt {
	return &doubt{class: class, position: position, err: err}
}

// send publishes the next event, or a marker instead if the event is parked or has to be.
func (p *publisher) send(ctx context.Context, e *table.Planned) error {
	if e.Position != p.win.next {
		return fmt.Errorf("publish: want position %d, got %d", p.win.next, e.Position)
	}
	if e.Parked == "" {
		if reason, err := p.fits(e); err != nil {
			if err := p.r.park(ctx, e, reason, err); err != nil {
				return err
			}
			e.Parked = reason
		}
	}
	marker := e.Parked != ""
	if marker && p.r.cfg.Shared { // there is no sequence to fill
		p.win.add(slot{marker: true, created: e.CreatedAt})
		p.win.ack(e.Position, 0, p.done)
		return nil
	}
	if marker {
		p.marker(e)
	} else {
		p.message(e)
	}
	p.msg.Reply = p.reply(e.Position)
	if err := p.r.nc.PublishMsg(&p.msg); err != nil {
		return p.unsent(e, err)
	}
	p.win.add(slot{bytes: len(p.msg.Data), marker: marker, created: e.CreatedAt})
	crash.Point("published")
	return nil
}

// unsent turns an error of the client into a doubt.
func (p *publisher) unsent(e *table.Planned, err error) error {
	d := &doubt{class: unavailable, position: e.Position, err: err}
	switch {
	case !p.r.nc.IsConnected():
		d.err = errLost // the client's own error is about its reconnect buffer
	case errors.Is(err, nats.ErrMaxPayload):
		d.class, d.reason = refused, reasonTooLarge
	case errors.Is(err, nats.ErrBadHeaderMsg):
		d.class, d.reason = refused, reasonBadHeader
	case errors.Is(err, nats.ErrBadSubject):
		d.class, d.reason = refused, reasonBadSubject
	}
	if d.class == refused && p.win.len() > 0 {
		// A message before it may fail first. Once this one is the next to publish, the refusal comes again.
		d.class = unknown
	}
	return d
}
