package relay

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// These benchmarks measure the parts of what the relay does for each event. outbox bench --scenario drain measures all of it together, beside the
// raw floor.

func benchEvent() *table.Planned {
	return &table.Planned{Event: event.Event{
		ID: uuid.New(), Position: 123_456_789, Subject: "orders.123456.updated", Key: "123456", Payload: []byte(strings.Repeat("x", 200)),
		ContentType: event.DefaultContentType, CreatedAt: time.Now(),
	}}
}

func BenchmarkMessage(b *testing.B) {
	p := &publisher{r: &Relay{}, at: &origin{base: 7}, win: &window{}, stream: []string{"ORDERS"}, last: []string{""}}
	e := benchEvent()
	b.ReportAllocs()
	for b.Loop() {
		p.message(e)
	}
}

func BenchmarkFits(b *testing.B) {
	p := &publisher{r: &Relay{nc: &nats.Conn{}}, at: &origin{State: &stream.State{Subjects: []string{"orders.>", "users.>"}, MaxMsgSize: 1 << 20}}}
	e := benchEvent()
	e.Payload = nil // a connection without a server has a maximum payload of 0
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.fits(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlainAck(b *testing.B) {
	prefix, ack := []byte(`{"stream":"ORDERS","seq":`), []byte(`{"stream":"ORDERS","seq":123456789}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := plainAck(ack, prefix); !ok {
			b.Fatal("the ack was not recognized")
		}
	}
}

// BenchmarkWindow adds and acknowledges one event of a full window.
func BenchmarkWindow(b *testing.B) {
	const events = 8192
	w := newWindow(events, 1<<30, 1)
	w.probe = false
	for range events {
		w.add(slot{bytes: 200})
	}
	done := 0
	b.ReportAllocs()
	for b.Loop() {
		w.ack(w.first, uint64(w.first), func(int64, *slot) { done++ })
		w.add(slot{bytes: 200})
	}
	if done == 0 || w.len() != events {
		b.Fatal(done, w.len())
	}
}
