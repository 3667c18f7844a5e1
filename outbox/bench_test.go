package outbox_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func benchEvents() map[string]outbox.Event {
	plain := outbox.Event{
		ID: uuid.New(), Position: 123_456_789, Subject: "orders.123456.updated", Key: "123456", Payload: []byte(strings.Repeat("x", 200)),
		ContentType: outbox.DefaultContentType, CreatedAt: time.Now(),
	}
	rich := plain
	rich.Headers = map[string]string{"Trace-Id": "0af7651916cd43dd8448eb211c80319c", "Tenant": "42", outbox.HeaderOp: "update"}
	return map[string]outbox.Event{"headers=0": plain, "headers=3": rich}
}

func BenchmarkSetHeaders(b *testing.B) {
	for name, event := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			headers := make(map[string][]string, 8)
			b.ReportAllocs()
			for b.Loop() {
				clear(headers)
				event.SetHeaders(headers)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	for name, event := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			headers := make(map[string][]string, 8)
			event.SetHeaders(headers)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := outbox.Parse(event.Subject, headers, event.Payload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
