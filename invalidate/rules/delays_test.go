package rules_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const delayRules = `
rules:
  - {subject: a, keys: [default]}
  - {subject: a, keys: [off], echo: off, ttl: 1h}
  - {subject: a, keys: [once], echo: 5s, version: {event: v, value: v}}
  - {subject: [a, b], keys: [twice], echo: [30s, 5s]}
`

// Echo selects the rules with a delay, and they keep their index.
func TestEcho(t *testing.T) {
	t.Parallel()
	set := parse(t, delayRules)
	same(t, "rules", set.Len(), 4)
	for _, c := range []struct {
		def    []time.Duration
		delays string
		echoes map[time.Duration]string
	}{
		{[]time.Duration{time.Second}, "[1s 5s 30s]", map[time.Duration]string{time.Second: "default@0", 5 * time.Second: "once@2, twice@3", 30 * time.Second: "twice@3", time.Minute: ""}},
		{[]time.Duration{5 * time.Second}, "[5s 30s]", map[time.Duration]string{5 * time.Second: "default@0, once@2, twice@3", 30 * time.Second: "twice@3"}},
		{nil, "[5s 30s]", map[time.Duration]string{5 * time.Second: "once@2, twice@3", time.Second: ""}},
	} {
		same(t, "delays", set.Delays(c.def), c.delays)
		for delay, want := range c.echoes {
			list, err := set.Echo(delay, c.def).Resolve(&event.Event{Subject: "a"})
			fatal(t, err)
			same(t, fmt.Sprint("echo after ", delay), format(list), want)
		}
	}
	same(t, "texts", set.EchoTexts(), "[default 5s 30s]")
	same(t, "texts of none", parse(t, "rules: [{subject: a, keys: [k], echo: off}]").EchoTexts(), "[]")
	echo := set.Echo(30*time.Second, nil)
	same(t, "rules of an echo", echo.Len(), 1)
	same(t, "subjects of an echo", echo.Subjects(), "[a b]")
}

func TestCheckable(t *testing.T) {
	t.Parallel()
	checkable := parse(t, delayRules).Checkable()
	list, err := checkable.Resolve(&event.Event{Subject: "a"})
	fatal(t, err)
	same(t, "checkable", format(list), "off@1 1h0m0s-1h0m0s, once@2")
	same(t, "rules", checkable.Len(), 2)
}
