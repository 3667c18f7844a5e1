package relay

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
)

// replies is how many reply subjects a window uses in turn. nats-server caches the last few hundred subjects that it
// routed. A reply subject per message is never in that cache, and costs the server a fifth more CPU per message.
const replies = 64

// reply is the subject for the ack of a position.
func (p *publisher) reply(position int64) string {
	if p.r.cfg.Shared {
		return p.headers.Text(p.inbox, position)
	}
	return p.replies[p.turn(position)]
}

// turn is the last token of reply. On a shared stream only that token identifies the position.
func (p *publisher) turn(position int64) int64 {
	if p.r.cfg.Shared {
		return position
	}
	return position % replies
}

// ackedAll processes an answer of the server and those that arrived meanwhile.
func (p *publisher) ackedAll(m *nats.Msg) error {
	for more := len(p.acks); ; more-- {
		crash.Point("ack")
		if err := p.acked(m); err != nil || more == 0 {
			return err
		}
		m = <-p.acks // nobody else receives from acks
	}
}

// acked processes one answer of the server.
func (p *publisher) acked(m *nats.Msg) error {
	reply, err := strconv.ParseInt(strings.TrimPrefix(m.Subject, p.inbox), 10, 64)
	if err != nil {
		return nil // not an answer to a publish
	}
	ack, class, err := p.read(m)
	if err == nil && ack.Stream == p.r.cfg.Stream {
		if position, ok := p.stored(reply, ack.Sequence); ok {
			p.ack(position, ack.Sequence)
			return nil
		}
	}
	position, n := p.asked(reply)
	if n == 0 {
		return nil
	}
	d := &doubt{class: class, position: position, sequence: ack.Sequence}
	switch {
	case err != nil:
		d.err = err
		if class == refused {
			d.reason = refusal(ack.Error.ErrCode)
		}
	case ack.Stream != p.r.cfg.Stream:
		d.err = fmt.Errorf("want an ack from stream %s, got one from %q", p.r.cfg.Stream, ack.Stream)
	case ack.Duplicate:
		d.class, d.err = duplicate, fmt.Errorf("stream already has its message id, at sequence %d", ack.Sequence)
	default:
		d.err = fmt.Errorf("want it stored at sequence %d, got %d", position+p.at.base, ack.Sequence)
	}
	if n > 1 {
		// It can be the answer for any of several positions. The right one comes again when its message goes alone.
		d.sequence, d.reason = 0, ""
		if d.class != unavailable {
			d.class = unknown
		}
	}
	return d
}

// read decodes an answer, in nearly all cases without parsing JSON.
func (p *publisher) read(m *nats.Msg) (pubAck, class, error) {
	if sequence, ok := plainAck(m.Data, p.ackPrefix); ok {
		return pubAck{Stream: p.r.cfg.Stream, Sequence: sequence}, unknown, nil
	}
	return readAck(m)
}

// stored returns the position of a successful ack. The position follows from the sequence and must match the reply subject.
func (p *publisher) stored(reply int64, sequence uint64) (position int64, ok bool) {
	if position = int64(sequence) - p.at.base; p.r.cfg.Shared {
		position = reply
	}
	return position, p.turn(position) == reply && p.win.waits(position)
}

// asked returns the first position that awaits an answer at a reply subject, and how many do.
func (p *publisher) asked(reply int64) (first int64, n int) {
	for position := p.win.first; position < p.win.next; position++ {
		if p.turn(position) == reply && p.win.waits(position) {
			if n++; n == 1 {
				first = position
			}
		}
	}
	return first, n
}

func (p *publisher) ack(position int64, sequence uint64) {
	p.progress = time.Now()
	p.win.ack(position, sequence, p.done)
	p.r.stats.lastAck.Store(p.progress.UnixNano())
}

// quiesce waits, after a doubt, for the answers to everything else in flight, so that reading the end of the stream does
// not race with our own messages. It waits a second at most. The server rejects a message that arrives later by its sequence.
func (p *publisher) quiesce(ctx context.Context, lost <-chan nats.Status) {
	unanswered := p.win.len() - 1
	for position := p.win.first; position < p.win.next; position++ {
		if p.win.at(position).acked {
			unanswered--
		}
	}
	timer := time.NewTimer(min(time.Second, p.r.cfg.AckWait))
	defer timer.Stop()
	for ; unanswered > 0; unanswered-- {
		select {
		case m := <-p.acks:
			_ = p.acked(m) // the first doubt counts
		case <-timer.C:
			return
		case <-lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// done records one acknowledged position.
func (p *publisher) done(position int64, s *slot) {
	c := &p.r.stats
	if !s.marker {
		c.published.Add(1)
	}
	c.position.Store(position)
	c.sequence.Store(s.sequence)
	c.lastEvent.Store(s.created.UnixNano())
	p.rec.note(position, s.sequence)
	crash.Point("acked")
}
