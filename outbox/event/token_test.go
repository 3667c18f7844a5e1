package event_test

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func FuzzToken(f *testing.F) {
	f.Add("a.b")
	f.Add("%41")
	f.Fuzz(func(t *testing.T, s string) {
		token := event.Token(s)
		if back := event.DecodeToken(token); back != s {
			t.Fatalf("token %q of %q decodes to %q", token, s, back)
		}
		if len(token) <= event.MaxSubject {
			if err := event.ValidateSubject("x." + token + ".y"); err != nil && len(token) < event.MaxSubject-10 {
				t.Fatalf("token %q of %q: %v", token, s, err)
			}
		}
	})
}
