package rules_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A rule maps the events of a subject to the keys that they make stale.
func ExampleParse() {
	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: users.*.updated
    keys: ["user:$1:profile", "user:$1:orders"]
`))
	if err != nil {
		log.Fatal(err)
	}
	deletions, err := set.Resolve(&event.Event{Subject: "users.42.updated"})
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range deletions {
		fmt.Println(d.Key)
	}
	// Output:
	// user:42:profile
	// user:42:orders
}

// An error has the line and the column of the mistake, and shows the lines around it.
func ExampleParse_error() {
	_, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: users.*.updated
    keys: ["user:$2:profile"]
`))
	fmt.Println(err)
	// Output:
	// rules.yaml:4:12: invalid key "user:$2:profile": placeholder $2 without a wildcard; the subject "users.*.updated" has 1 wildcard
	//     3 |   - subject: users.*.updated
	//     4 |     keys: ["user:$2:profile"]
	//       |            ^
}

// Fields of the payload fill placeholders, and an array makes one key for each element. A tag is an index whose members are
// to be deleted.
func ExampleSet_Resolve() {
	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: orders.*.paid
    keys: ["cart:${payload.user}", "stock:${payload.items.sku}"]
    tags: ["reports"]
`))
	if err != nil {
		log.Fatal(err)
	}
	deletions, err := set.Resolve(&event.Event{
		Subject: "orders.1001.paid",
		Payload: []byte(`{"user": 42, "items": [{"sku": "A7"}, {"sku": "B 9"}]}`),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range deletions {
		fmt.Println(d.Key, d.Tag)
	}
	// Output:
	// cart:42 false
	// stock:A7 false
	// stock:B%209 false
	// reports true
}

// An event that lacks a field is poison: no retry helps. Resolve still returns the keys that it can derive.
func ExampleSet_Resolve_poison() {
	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - subject: orders.*.paid
    keys: ["order:$1", "cart:${payload.user}"]
`))
	if err != nil {
		log.Fatal(err)
	}
	deletions, err := set.Resolve(&event.Event{Subject: "orders.1001.paid", Payload: []byte(`{}`)})
	fmt.Println(deletions[0].Key)
	fmt.Println(errors.Is(err, rules.ErrPoison), err)
	// Output:
	// order:1001
	// true rules[0] (orders.*.paid), key "cart:${payload.user}": "payload.user" is missing
}

// A consumer resolves many events with one Resolver, which reuses its memory.
func ExampleSet_NewResolver() {
	set, err := rules.Parse("rules.yaml", []byte(`rules: [{subject: "users.*.updated", keys: ["user:$1"]}]`))
	if err != nil {
		log.Fatal(err)
	}
	resolver := set.NewResolver()
	var deletions []rules.Deletion
	for _, subject := range []string{"users.42.updated", "orders.7.paid", "users.43.updated"} {
		if deletions, err = resolver.Resolve(&event.Event{Subject: subject}, deletions[:0]); err != nil {
			log.Fatal(err)
		}
		for _, d := range deletions {
			fmt.Println(subject, "makes", d.Key, "stale")
		}
	}
	// Output:
	// users.42.updated makes user:42 stale
	// users.43.updated makes user:43 stale
}

// Explain shows which rules match an event, and what each of them derives. "outbox rules explain" prints it.
func ExampleSet_Explain() {
	set, err := rules.Parse("rules.yaml", []byte(`
rules:
  - {subject: users.*.updated, keys: ["user:$1"], echo: [1s, 30s]}
  - {subject: orders.>, keys: ["orders"]}
  - {subject: users.>, tags: ["group:users"]}
`))
	if err != nil {
		log.Fatal(err)
	}
	for _, m := range set.Explain(&event.Event{Subject: "users.42.updated"}).Matched {
		fmt.Println("rule", m.Rule, m.Subject, "keys", m.Keys, "tags", m.Tags, "echo", m.Echo)
	}
	// Output:
	// rule 0 users.*.updated keys [user:42] tags [] echo [1s 30s]
	// rule 2 users.> keys [] tags [group:users] echo [default]
}

// Examples of events, in a file beside the rules, are tests of the rules. "outbox rules test" runs them.
func ExampleSet_Check() {
	set, err := rules.Parse("rules.yaml", []byte(`rules: [{subject: "users.*.updated", keys: ["user:$1"]}]`))
	if err != nil {
		log.Fatal(err)
	}
	examples, err := rules.ParseExamples("examples.yaml", []byte(`
examples:
  - name: a user changes
    subject: users.42.updated
    keys: ["user:42", "user:42:profile"]
`))
	if err != nil {
		log.Fatal(err)
	}
	difference := set.Check(&examples[0])
	fmt.Println(difference.Holds(), difference.MissingKeys)
	// Output: false [user:42:profile]
}
