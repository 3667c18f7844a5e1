package event_test

import (
	"fmt"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A consumer reads the event of a message. The arguments are the fields of a *nats.Msg, or of a jetstream.Msg.
func ExampleParse() {
	e, err := event.Parse("users.42.updated", map[string][]string{
		"Nats-Msg-Id":     {"3d1a6a33-5698-4b44-86f6-5ba6ee7ae558"},
		"Outbox-Position": {"17"},
		"Outbox-Key":      {"42"},
		"Tenant":          {"acme"},
	}, []byte(`{"id": 42, "name": "Ada"}`))
	if err != nil {
		fmt.Println(err) // malformed: a retry would fail again
		return
	}
	fmt.Println(e.ID, "at position", e.Position)
	fmt.Println(e.Subject, "about", e.Key, "of", e.Headers["Tenant"])
	fmt.Println(string(e.Payload))
	// Output:
	// 3d1a6a33-5698-4b44-86f6-5ba6ee7ae558 at position 17
	// users.42.updated about 42 of acme
	// {"id": 42, "name": "Ada"}
}

// Token encodes a value for a subject, and DecodeToken returns it.
func ExampleToken() {
	token := event.Token("a.b c")
	fmt.Println(token, event.Token(""), event.Token("42"))
	fmt.Println(event.DecodeToken(token))
	// Output:
	// a%2Eb%20c % 42
	// a.b c
}

// SubjectPattern matches subjects as NATS does.
func ExampleSubjectPattern() {
	pattern, err := event.SubjectPattern("users.*.>")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(pattern.MatchString("users.42.address.updated"), pattern.MatchString("users.42"))
	// Output:
	// true false
}
