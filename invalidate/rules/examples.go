package rules

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// MaxExamples is how many examples a file may have. It may have MaxRuleFile bytes.
const MaxExamples = 10_000

// An Example says what the rules have to make of one event.
type Example struct {
	Name   string // defaults to the subject
	At     string // name:line:column of the file
	Event  event.Event
	Keys   []string // exactly these, in any order
	Tags   []string // likewise
	Poison bool     // the event has to be one that a rule cannot be applied to
}

// exampleText is an example as a file has it.
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

// ParseExamples reads a file of examples:
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
// All but the subject can be left out. A payload that is a text is taken as it is, anything else becomes JSON. It is as
// strict as Parse: an unknown field or an event that the outbox would refuse is an error, which begins with
// name:line:column.
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
		return nil, f.errorAt(nil, "the file has no examples")
	case len(content.Examples) > MaxExamples:
		return nil, f.errorAt(nil, fmt.Sprintf("the file has %d examples, the limit is %d", len(content.Examples), MaxExamples))
	}
	list := make([]Example, len(content.Examples))
	for i := range content.Examples {
		text := &content.Examples[i]
		if bad := text.check(); bad != nil {
			return nil, f.errorIn("examples", i, bad)
		}
		list[i] = Example{
			Name: text.Name, At: f.place(f.find("examples", i, "", -1)),
			Event: text.event(), Keys: text.Keys, Tags: text.Tags, Poison: text.Poison,
		}
		if text.Name == "" {
			list[i].Name = text.Subject
		}
	}
	return list, nil
}

func (t *exampleText) check() *fault {
	if t.Op != "" && !operation(t.Op) {
		return wrong("op", -1, "operation %q is none of insert, update, delete", t.Op)
	}
	if _, ok := t.Headers[event.HeaderOp]; ok && t.Op != "" {
		return wrong("op", -1, "the operation is there twice, as op and as header %s", event.HeaderOp)
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

// A Difference is where the rules and an example disagree.
type Difference struct {
	MissingKeys    []string `json:"missing_keys"`    // the rules do not name them
	UnexpectedKeys []string `json:"unexpected_keys"` // the example does not
	MissingTags    []string `json:"missing_tags"`
	UnexpectedTags []string `json:"unexpected_tags"`
	Poison         string   `json:"poison"` // what is wrong about the event being poison or not, "" if nothing
}

// Holds says whether there is no difference.
func (d *Difference) Holds() bool {
	return len(d.MissingKeys)+len(d.UnexpectedKeys)+len(d.MissingTags)+len(d.UnexpectedTags) == 0 && d.Poison == ""
}

// Check returns where the rules disagree with an example. The lists are sorted and never nil.
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
		d.Poison = "the event is not poison"
	}
	return d
}

// without returns what is in a list and not in another, sorted and each once.
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
