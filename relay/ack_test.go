package relay

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// ackRig returns a publisher with n messages in flight: position 101 is at sequence 108, and so on.
func ackRig(n int, shared bool) *publisher {
	r := &Relay{}
	r.cfg.Stream, r.cfg.Shared = "S", shared
	p := &publisher{
		r: r, at: &origin{base: 7}, win: newWindow(8192, 1<<30, 101), rec: &recorder{},
		inbox: "_INBOX.x.", acks: make(chan *nats.Msg, 1), ackPrefix: []byte(`{"stream":"S","seq":`),
	}
	for i := range p.replies {
		p.replies[i] = fmt.Sprint(p.inbox, i)
	}
	for range n {
		p.win.add(slot{created: time.Now()})
	}
	return p
}

func (p *publisher) answer(position int64, data string) error {
	return p.acked(&nats.Msg{Subject: p.reply(position), Data: []byte(data)})
}

const (
	storedAs  = `{"stream":"S","seq":%d}`
	wasThere  = `{"stream":"S","seq":%d,"duplicate":true}`
	tooLarge  = `{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"},"stream":"S","seq":0}`
	wrongLast = `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 300"},"stream":"S","seq":0}`
)

func TestAcks(t *testing.T) {
	for name, c := range map[string]struct {
		flying   int
		position int64 // whose reply subject gets the answer
		answer   string
		class    class
		doubts   int64 // position of the doubt; 0 for none
		sequence uint64
		first    int64 // of the window afterwards
	}{
		"stored":                            {200, 101, fmt.Sprintf(storedAs, 108), 0, 0, 0, 102},
		"stored out of order":               {200, 102, fmt.Sprintf(storedAs, 109), 0, 0, 0, 101},
		"stored before, as it should be":    {200, 101, fmt.Sprintf(wasThere, 108), 0, 0, 0, 102},
		"stored somewhere else":             {20, 103, fmt.Sprintf(storedAs, 109), unknown, 103, 109, 101},
		"stored somewhere else, one of two": {100, 103, fmt.Sprintf(storedAs, 109), unknown, 103, 0, 101},
		"id used twice":                     {20, 103, fmt.Sprintf(wasThere, 50), duplicate, 103, 50, 101},
		"id used twice, one of two":         {100, 103, fmt.Sprintf(wasThere, 50), unknown, 103, 0, 101},
		"refused":                           {64, 103, tooLarge, refused, 103, 0, 101},
		"refused, one of two":               {100, 103, tooLarge, unknown, 103, 0, 101},
		"refused, the second of two":        {100, 103 + replies, tooLarge, unknown, 103, 0, 101},
		"wrong last sequence":               {64, 101, wrongLast, unknown, 101, 300, 101},
		"wrong last sequence, one of many":  {200, 101, wrongLast, unknown, 101, 0, 101},
		"of another stream":                 {20, 103, `{"stream":"T","seq":110}`, unknown, 103, 110, 101},
		"of another stream, one of two":     {100, 103, `{"stream":"T","seq":110}`, unknown, 103, 0, 101},
		"nobody's":                          {3, 110, tooLarge, 0, 0, 0, 101},
	} {
		t.Run(name, func(t *testing.T) {
			p := ackRig(c.flying, false)
			err := p.answer(c.position, c.answer)
			var d *doubt
			switch errors.As(err, &d); {
			case c.doubts == 0 && err != nil:
				t.Errorf("got doubt %v, want none", err)
			case c.doubts != 0 && d == nil:
				t.Errorf("got no doubt, want one")
			case d != nil && (d.class != c.class || d.position != c.doubts || d.sequence != c.sequence):
				t.Errorf("got doubt %+v", d)
			}
			if p.win.first != c.first {
				t.Errorf("first position in flight is %d, want %d", p.win.first, c.first)
			}
		})
	}
}

// The first message after a doubt names the stream that it expects, and so does every message on a shared stream.
func TestMessageNamesItsStream(t *testing.T) {
	for _, shared := range []bool{false, true} {
		p := ackRig(0, shared)
		p.stream, p.last = []string{"S"}, make([]string, 1)
		e := &table.Planned{Event: event.Event{ID: uuid.New(), Position: 101, Subject: "a.b"}}
		p.message(e)
		if got := p.msg.Header.Get("Nats-Expected-Stream"); got != "S" {
			t.Errorf("shared %v: the first message expects stream %q", shared, got)
		}
		p.win.probe = false
		p.message(e)
		if got := p.msg.Header.Get("Nats-Expected-Stream"); (got == "S") != shared {
			t.Errorf("shared %v: the next message expects stream %q", shared, got)
		}
	}
}

// A second ack of one position has no effect on another position.
func TestAckOnceOnly(t *testing.T) {
	p := ackRig(3, false)
	for range 2 {
		if err := p.answer(102, fmt.Sprintf(storedAs, 109)); err != nil {
			t.Fatal(err)
		}
	}
	if p.win.first != 101 || p.win.at(101).acked {
		t.Errorf("first position in flight is %d", p.win.first)
	}
}

// On a shared stream only the reply subject identifies the position.
func TestAcksOfASharedStream(t *testing.T) {
	p := ackRig(200, true)
	if err := p.answer(101, fmt.Sprintf(storedAs, 5000)); err != nil || p.win.first != 102 {
		t.Errorf("first position in flight is %d, error %v", p.win.first, err)
	}
	var d *doubt
	if err := p.answer(150, tooLarge); !errors.As(err, &d) || d.class != refused || d.position != 150 {
		t.Errorf("%v", err)
	}
}
