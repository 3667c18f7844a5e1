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

// replies is how many subjects the acks of a window come to, in turns. nats-server keeps the last few hundred subjects that it
// routed; one of its own for each message is never among them, and costs the server a fifth more for every message.
const replies = 64

// reply is the subject that the ack of a position comes to.
func (p *publisher) reply(position int64) string {
	if p.r.cfg.Shared {
		return p.headers.Text(p.inbox, position)
	}
	return p.replies[p.turn(position)]
}

// turn is the last token of reply. In a shared stream nothing else tells the position.
func (p *publisher) turn(position int64) int64 {
	if p.r.cfg.Shared {
		return position
	}
	return position % replies
}

// ackedAll takes an answer of the server, and those that have come meanwhile.
func (p *publisher) ackedAll(m *nats.Msg) error {
	for more := len(p.acks); ; more-- {
		crash.Point("ack")
		if err := p.acked(m); err != nil || more == 0 {
			return err
		}
		m = <-p.acks // only we receive
	}
}

// acked takes one answer of the server.
func (p *publisher) acked(m *nats.Msg) error {
	reply, err := strconv.ParseInt(strings.TrimPrefix(m.Subject, p.inbox), 10, 64)
	if err != nil {
		return nil // nobody we asked
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
		d.err = fmt.Errorf("ack comes from stream %q", ack.Stream)
	case ack.Duplicate:
		d.class, d.err = duplicate, fmt.Errorf("stream has its message id already, at sequence %d", ack.Sequence)
	default:
		d.err = fmt.Errorf("stored at sequence %d where %d belongs", ack.Sequence, position+p.at.base)
	}
	if n > 1 {
		// One of several: it comes again once it is the next, which goes alone.
		d.sequence, d.reason = 0, ""
		if d.class != unavailable {
			d.class = unknown
		}
	}
	return d
}

// read decodes an answer, nearly always without JSON.
func (p *publisher) read(m *nats.Msg) (pubAck, class, error) {
	if sequence, ok := plainAck(m.Data, p.ackPrefix); ok {
		return pubAck{Stream: p.r.cfg.Stream, Sequence: sequence}, unknown, nil
	}
	return readAck(m)
}

// stored is the position that a good ack is for: its sequence tells, and has to agree with the subject that it came to.
func (p *publisher) stored(reply int64, sequence uint64) (position int64, ok bool) {
	if position = int64(sequence) - p.at.base; p.r.cfg.Shared {
		position = reply
	}
	return position, p.turn(position) == reply && p.win.waits(position)
}

// asked is the first position whose answer is awaited at a subject, and how many those are.
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
// not race with our own messages. Bounded: what does not answer is left behind, and refused by its sequence.
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
			_ = p.acked(m) // the first doubt is the one that counts
		case <-timer.C:
			return
		case <-lost:
			return
		case <-ctx.Done():
			return
		}
	}
}

// done counts one acknowledged position.
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
