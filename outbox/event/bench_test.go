package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func benchEvents() map[string]event.Event {
	plain := event.Event{
		ID: uuid.New(), Position: 123_456_789, Subject: "orders.123456.updated", Key: "123456", Payload: []byte(strings.Repeat("x", 200)),
		ContentType: event.DefaultContentType, CreatedAt: time.Now(),
	}
	rich := plain
	rich.Headers = map[string]string{"Trace-Id": "0af7651916cd43dd8448eb211c80319c", "Tenant": "42", event.HeaderOp: "update"}
	return map[string]event.Event{"headers=0": plain, "headers=3": rich}
}

func BenchmarkSetHeaders(b *testing.B) {
	for name, e := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			headers := make(map[string][]string, 8)
			b.ReportAllocs()
			for b.Loop() {
				clear(headers)
				e.SetHeaders(headers)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, e := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			headers := make(map[string][]string, 8)
			e.SetHeaders(headers)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := event.Parse(e.Subject, headers, e.Payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
