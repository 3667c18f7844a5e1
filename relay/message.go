package relay

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// message puts the event's message into p.msg.
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

// freshen gives the message another id than its event's, because the stream may remember that one.
func (p *publisher) freshen(id string) {
	p.msg.Header[event.HeaderEventID] = p.msg.Header[event.HeaderMsgID]
	p.msg.Header[event.HeaderMsgID] = []string{id}
}

// marker puts the message for a parked event's position into p.msg.
func (p *publisher) marker(e *table.Planned) {
	p.clear(e)
	p.msg.Subject, p.msg.Data = ControlSubject(p.r.cfg.Stream), nil
	p.msg.Header[event.HeaderMsgID] = []string{fmt.Sprintf("%s:parked:%d", e.ID, e.Position)}
	p.msg.Header[event.HeaderEventID] = []string{e.ID.String()}
	p.msg.Header[event.HeaderPosition] = []string{strconv.FormatInt(e.Position, 10)}
	p.msg.Header[event.HeaderParked] = []string{e.Parked}
}

// clear empties p.msg except for what the server checks. A message that goes alone, as the first one after every doubt does, names its stream.
// Within a window the chain and the ack identify the stream, and every replica would have to store one more header per message.
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

// fits reports why the stream would never accept the event, as far as the relay can know before it publishes.
func (p *publisher) fits(e *table.Planned) (reason string, err error) {
	if err := event.ValidateSubject(e.Subject); err != nil {
		return reasonBadSubject, err
	}
	if !stream.Covered(p.at.Subjects, e.Subject) {
		return reasonNoStream, fmt.Errorf("stream %s does not cover subject %s", p.r.cfg.Stream, e.Subject)
	}
	if err := errors.Join(e.Malformed, e.ValidateHeaders()); err != nil {
		return reasonBadHeader, err
	}
	limit := p.r.nc.MaxPayload()
	if p.at.MaxMsgSize > 0 {
		limit = min(limit, int64(p.at.MaxMsgSize))
	}
	if size := int64(len(e.Payload)); size > limit {
		return reasonTooLarge, fmt.Errorf("payload has %d bytes; the server or the stream allows %d", size, limit)
	}
	return "", nil
}
