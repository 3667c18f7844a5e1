package rules

import (
	"errors"
	"slices"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// MaxExamples is the largest number of examples in a file, which may have at most MaxRuleFile bytes.
const MaxExamples = 10_000

// An Example is an event, and the keys and tags that the rules must derive from it. [Set.Check] compares them.
type Example struct {
	Name   string // defaults to the subject
	At     string // name:line:column in the file
	Event  event.Event
	Keys   []string // all keys, in any order
	Tags   []string // all tags, in any order
	Poison bool     // the event must be poison
}

// exampleText is an example as the file has it.
type exampleText struct {
	Name    string            `yaml:"name"`
	Subject string            `yaml:"subject"`
	Payload jsonText          `yaml:"payload"`
	Key     string            `yaml:"key"`
	Op      string            `yaml:"op"`
	Headers map[string]string `yaml:"headers"`
	Keys    []string          `yaml:"keys"`
	Tags    []string          `yaml:"tags"`
	Poison  bool              `yaml:"poison"`
}

// ParseExamples reads a file of examples in YAML:
//
//	examples:
//	  - name: a user changes
//	    subject: users.42.updated
//	    payload: {id: 42, teams: [1, 2]}
//	    key: "42"
//	    op: update
//	    headers: {Cache-Keys: "a b"}
//	    keys: ["user:42:profile"]
//	    tags: []
//	    poison: false
//
// Only the subject is required. A payload that is a YAML text is used unchanged; any other YAML becomes JSON. ParseExamples
// is as strict as Parse: it returns an error for an unknown field, and for an event that the outbox would reject. The error
// begins with name:line:column.
func ParseExamples(name string, data []byte) ([]Example, error) {
	f := textFile{name: name, noun: "a file of examples"}
	var content struct {
		Examples []exampleText `yaml:"examples"`
	}
	if err := f.decode(data, &content); err != nil {
		return nil, err
	}
	switch {
	case len(content.Examples) == 0:
		return nil, f.errorAt(nil, "no examples in the file; want a list under examples:")
	case len(content.Examples) > MaxExamples:
		return nil, f.errorfAt(nil, "%d examples in the file; want at most %d", len(content.Examples), MaxExamples)
	}
	list := make([]Example, len(content.Examples))
	for i := range content.Examples {
		text := &content.Examples[i]
		if problem := text.check(); problem != nil {
			return nil, f.errorIn("examples", i, problem)
		}
		list[i] = Example{
			Name: text.Name, At: f.position(f.find("examples", i, "", -1)),
			Event: text.event(), Keys: text.Keys, Tags: text.Tags, Poison: text.Poison,
		}
		if text.Name == "" {
			list[i].Name = text.Subject
		}
	}
	return list, nil
}

func (t *exampleText) check() *fault {
	if t.Op != "" && !isOperation(t.Op) {
		return faultf("op", -1, "invalid operation %q; want insert, update or delete", t.Op)
	}
	if _, ok := t.Headers[event.HeaderOp]; ok && t.Op != "" {
		return faultf("op", -1, "operation given twice, as op and as header %s; remove one of them", event.HeaderOp)
	}
	if err := event.ValidateSubject(t.Subject); err != nil {
		return &fault{"subject", -1, err}
	}
	key := event.Event{Key: t.Key}
	if err := key.ValidateHeaders(); err != nil {
		return &fault{"key", -1, err}
	}
	e := t.event()
	if err := e.ValidateHeaders(); err != nil {
		return &fault{"headers", -1, err}
	}
	if err := e.Validate(); err != nil {
		return &fault{"payload", -1, err}
	}
	return nil
}

func (t *exampleText) event() event.Event {
	e := event.Event{Subject: t.Subject, Key: t.Key, Payload: t.Payload, Headers: t.Headers}
	if t.Op != "" {
		e.Headers = map[string]string{event.HeaderOp: t.Op}
		for name, value := range t.Headers {
			e.Headers[name] = value
		}
	}
	return e
}

// A Difference is the result of comparing the rules with an example. Its lists are sorted and never nil.
type Difference struct {
	MissingKeys    []string `json:"missing_keys"`    // in the example, but not derived by the rules
	UnexpectedKeys []string `json:"unexpected_keys"` // derived by the rules, but not in the example
	MissingTags    []string `json:"missing_tags"`    // like MissingKeys
	UnexpectedTags []string `json:"unexpected_tags"` // like UnexpectedKeys
	Poison         string   `json:"poison"`          // set if only one of event and example is poison
}

// Holds reports whether there is no difference.
func (d *Difference) Holds() bool {
	return len(d.MissingKeys)+len(d.UnexpectedKeys)+len(d.MissingTags)+len(d.UnexpectedTags) == 0 && d.Poison == ""
}

// Check resolves the event of an example and compares the result with what the example expects.
func (r *Set) Check(x *Example) Difference {
	found, err := r.Resolve(&x.Event)
	keys, tags := []string{}, []string{}
	for _, d := range found {
		if d.Tag {
			tags = append(tags, d.Key)
		} else {
			keys = append(keys, d.Key)
		}
	}
	d := Difference{
		MissingKeys: without(x.Keys, keys), UnexpectedKeys: without(keys, x.Keys),
		MissingTags: without(x.Tags, tags), UnexpectedTags: without(tags, x.Tags),
	}
	switch poison := errors.Is(err, ErrPoison); {
	case poison && !x.Poison:
		d.Poison = "the event is poison: " + err.Error()
	case x.Poison && !poison:
		d.Poison = "the event is not poison, but the example expects it to be"
	}
	return d
}

// without returns the texts of list that are not in other, sorted, without duplicates.
func without(list, other []string) []string {
	known := make(map[string]bool, len(other))
	for _, text := range other {
		known[text] = true
	}
	rest := []string{}
	for _, text := range list {
		if !known[text] {
			rest = append(rest, text)
		}
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}
