package rules_test

import (
	"encoding/json"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	set := parse(t, `
rules:
  - {subject: [users.*.updated, users.*.deleted], keys: ["user:$1", "users:all"], tags: [users], echo: [30s, 1h, 10m], ttl: [90s, 1h],
     version: {event: version, value: version}}
  - {subject: orders.>, keys: ["orders"]}
  - {subject: users.>, keys: ["users:all", "cart:${payload.cart}"], headers: true, echo: off}
`)
	for _, c := range []struct{ subject, payload, want string }{
		{"users.42.updated", `{"version": 7}`, `{"subject":"users.42.updated","matched":[` +
			`{"rule":0,"subject":"users.*.updated","keys":["user:42","users:all"],"tags":["users"],"headers":false,"echo":["30s","10m","1h"],"ttl":["1m30s","1h"],"due":"7"},` +
			`{"rule":2,"subject":"users.\u003e","keys":["h"],"tags":[],"headers":true,"echo":[],` +
			`"error":"rules[2] (users.\u003e), key \"cart:${payload.cart}\": \"payload.cart\" is missing"}` +
			`],"rules":3,"keys":3,"tags":1,"poison":true}`},
		{"orders.1", "", `{"subject":"orders.1","matched":[{"rule":1,"subject":"orders.\u003e","keys":["orders"],"tags":[],"headers":false,"echo":["default"]}],` +
			`"rules":3,"keys":1,"tags":0,"poison":false}`},
		{"x", "", `{"subject":"x","matched":[],"rules":3,"keys":0,"tags":0,"poison":false}`},
	} {
		got, err := json.Marshal(set.Explain(&event.Event{
			Subject: c.subject, Payload: []byte(c.payload), Headers: map[string]string{"Cache-Keys": "h users:all"},
		}))
		fatal(t, err)
		same(t, c.subject, string(got), c.want)
	}
}
