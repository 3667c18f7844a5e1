package relay

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// message makes the event's message in p.msg.
func (p *publisher) message(e *table.Planned) {
	p.clear(e)
	p.msg.Subject, p.msg.Data = e.Subject, e.Payload
	p.headers.Set(p.msg.Header, &e.Event)
	switch {
	case e.Position == p.freshID:
		p.freshen(fmt.Sprintf("%s:%d", e.ID, e.Position+p.at.base))
	case e.Again:
		p.freshen(fmt.Sprintf("%s:again:%d", e.ID, e.Position))
	}
}

// freshen gives the message another id than its event's, which the stream may remember.
func (p *publisher) freshen(id string) {
	p.msg.Header[event.HeaderEventID] = p.msg.Header[event.HeaderMsgID]
	p.msg.Header[event.HeaderMsgID] = []string{id}
}

// marker makes the message that stands at a parked event's position.
func (p *publisher) marker(e *table.Planned) {
	p.clear(e)
	p.msg.Subject, p.msg.Data = ControlSubject(p.r.cfg.Stream), nil
	p.msg.Header[event.HeaderMsgID] = []string{fmt.Sprintf("%s:parked:%d", e.ID, e.Position)}
	p.msg.Header[event.HeaderEventID] = []string{e.ID.String()}
	p.msg.Header[event.HeaderPosition] = []string{strconv.FormatInt(e.Position, 10)}
	p.msg.Header[event.HeaderParked] = []string{e.Parked}
}

// clear empties p.msg but for what the server checks. The name of the stream is asked for where a message goes alone, and so the first after
// every doubt: of one in a window, which belongs behind a message of ours, the ack tells it, and every header costs each server that stores it.
func (p *publisher) clear(e *table.Planned) {
	if p.msg.Header == nil {
		p.msg.Header = make(nats.Header, 8)
	}
	clear(p.msg.Header)
	if p.win.probe || p.r.cfg.Shared {
		p.msg.Header["Nats-Expected-Stream"] = p.stream
	}
	if !p.r.cfg.Shared {
		p.last[0] = p.headers.Text("", p.at.before(e.Position))
		p.msg.Header["Nats-Expected-Last-Sequence"] = p.last
	}
}

// fits says why the stream would refuse the event for ever, as far as that can be known before.
func (p *publisher) fits(e *table.Planned) (reason string, err error) {
	if err := event.ValidateSubject(e.Subject); err != nil {
		return reasonBadSubject, err
	}
	if !Covered(p.at.subjects, e.Subject) {
		return reasonNoStream, fmt.Errorf("stream %s does not cover subject %s", p.r.cfg.Stream, e.Subject)
	}
	if err := errors.Join(e.Malformed, e.ValidateHeaders()); err != nil {
		return reasonBadHeader, err
	}
	limit := p.r.nc.MaxPayload()
	if p.at.maxMsgSize > 0 {
		limit = min(limit, int64(p.at.maxMsgSize))
	}
	if size := int64(len(e.Payload)); size > limit {
		return reasonTooLarge, fmt.Errorf("payload has %d bytes, the limit of the server or the stream is %d", size, limit)
	}
	return "", nil
}
