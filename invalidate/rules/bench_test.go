package rules_test

import (
	"fmt"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func BenchmarkResolve(b *testing.B) {
	payload := []byte(`{"event": "user.updated", "user_id": 4242424242, "address": {"city": "Aachen", "zip": "52062"}, "tags": ["a", "b"]}`)
	for _, c := range []struct {
		name string
		keys []string
	}{
		{"tokens", []string{"user:$1:profile", "user:$1:orders"}},
		{"payload", []string{"user:${payload.user_id}:profile", "city:${payload.address.city}"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			set := oneRule(b, "users.*.updated", c.keys...)
			ev := event.Event{Subject: "users.4242424242.updated", Payload: payload}
			b.ReportAllocs()
			for b.Loop() {
				if list, err := set.Resolve(&ev); err != nil || len(list) != 2 {
					b.Fatal(list, err)
				}
			}
		})
	}
	b.Run("kept resolver", func(b *testing.B) {
		set := oneRule(b, "users.*.updated", "user:$1:profile", "user:${payload.user_id}:orders")
		ev := event.Event{Subject: "users.4242424242.updated", Payload: payload}
		resolver := set.NewResolver()
		var list []rules.Deletion
		b.ReportAllocs()
		for b.Loop() {
			var err error
			if list, err = resolver.Resolve(&ev, list[:0]); err != nil || len(list) != 2 {
				b.Fatal(list, err)
			}
		}
	})
	b.Run("one of 1000 rules", func(b *testing.B) {
		text := "rules:\n"
		for i := range 1000 {
			text += fmt.Sprintf("  - {subject: t%d.*.updated, keys: [\"t%d:$1\"]}\n", i, i)
		}
		set := parse(b, text)
		ev := event.Event{Subject: "t500.4242424242.updated"}
		b.ReportAllocs()
		for b.Loop() {
			if list, err := set.Resolve(&ev); err != nil || len(list) != 1 {
				b.Fatal(list, err)
			}
		}
	})
}
