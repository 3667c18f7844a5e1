package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Rule says which keys an event makes stale. It is what a rule file holds a list of; Parse checks it.
type Rule struct {
	// Subject holds the NATS patterns of the events it is about: "users.*.updated", "orders.>".
	Subject Texts `yaml:"subject" json:"subject"`
	// Keys are templates of the keys: "user:$1:profile". The package documentation lists the placeholders.
	Keys []string `yaml:"keys,omitempty" json:"keys,omitempty"`
	// Tags are templates of indexes, each a SET or a ZSET of keys: its members are deleted, and it stays.
	Tags []string `yaml:"tags,omitempty" json:"tags,omitempty"`
	// Headers lets an event name further keys and tags itself, with HeaderKeys and HeaderTags. Defaults to false:
	// these headers mean nothing.
	Headers bool `yaml:"headers,omitempty" json:"headers,omitempty"`
	// Prefix lists what stands before each key and tag, literally; each is deleted once under each. Defaults to [""].
	Prefix []string `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	// On narrows the rule to events of these operations (insert, update, delete), told by their header
	// Outbox-Op. Defaults to all events, those without an operation too.
	On []string `yaml:"on,omitempty" json:"on,omitempty"`
	// Echo lists after which times keys are deleted once more, "off" for not at all. Defaults to what the
	// invalidator was told.
	Echo Texts `yaml:"echo,omitempty" json:"echo,omitempty"`
	// TTL is how long readers let a value live: one time, or the shortest and the longest. They must never refresh it.
	TTL Texts `yaml:"ttl,omitempty" json:"ttl,omitempty"`
	// Version says where events and cached values have their version.
	Version *VersionPaths `yaml:"version,omitempty" json:"version,omitempty"`
}

// Texts is a list of texts; a file may have a single one without brackets.
type Texts []string

// UnmarshalYAML reads one text or a list of them.
func (t *Texts) UnmarshalYAML(node ast.Node) error {
	if node.Type() == ast.SequenceType {
		return yaml.NodeToValue(node, (*[]string)(t), yaml.Strict())
	}
	*t = make(Texts, 1)
	return yaml.NodeToValue(node, &(*t)[0], yaml.Strict())
}

// VersionPaths are the places of a version, as paths of field names joined by dots.
type VersionPaths struct {
	Event string `yaml:"event" json:"event"` // in the payload of the event
	Value string `yaml:"value" json:"value"` // in the cached value, which is JSON; "hash:ver" is the field ver of a hash
}

// compiled is a rule for one of its subjects.
type compiled struct {
	pattern  pattern
	keys     []template
	tags     []template
	headers  bool
	prefixes []string
	on       []string
	index    int             // in the file
	echo     []time.Duration // nil: the default of the invalidator; empty: none
	ttl      Span
	version  *Version
}

// A fault is what is wrong with a rule or an example, and where: the path to the value inside it.
type fault struct {
	field string // subject, keys, version.event; "" for the whole
	index int    // in the list of that field, -1 for the field itself
	err   error
}

func wrong(field string, index int, format string, args ...any) *fault {
	return &fault{field, index, fmt.Errorf(format, args...)}
}

// compile checks the rule and makes one of each subject.
func (r *Rule) compile(index int) ([]compiled, *fault) {
	patterns, f := r.patterns()
	if f == nil {
		f = r.checkLists()
	}
	if f != nil {
		return nil, f
	}
	c := compiled{index: index, on: r.On, prefixes: r.Prefix, headers: r.Headers}
	if len(c.prefixes) == 0 {
		c.prefixes = []string{""}
	}
	// What fits the subject with the fewest wildcards fits all of them, and the templates are shared.
	least := slices.MinFunc(patterns, func(p, q pattern) int { return len(p.wildcards) - len(q.wildcards) })
	if c.keys, f = c.templates("key", r.Keys, &least); f != nil {
		return nil, f
	}
	if c.tags, f = c.templates("tag", r.Tags, &least); f != nil {
		return nil, f
	}
	if c.echo, f = parseEcho(r.Echo); f != nil {
		return nil, f
	}
	if c.ttl, f = parseTTL(r.TTL); f != nil {
		return nil, f
	}
	if r.Version != nil {
		if c.version, f = r.Version.compile(); f != nil {
			return nil, f
		}
	}
	list := make([]compiled, len(patterns))
	for i := range patterns {
		list[i] = c
		list[i].pattern = patterns[i]
	}
	return list, nil
}

func (r *Rule) patterns() ([]pattern, *fault) {
	if len(r.Subject) == 0 {
		return nil, wrong("subject", -1, "the rule has no subject")
	}
	patterns := make([]pattern, len(r.Subject))
	for i, text := range r.Subject {
		var err error
		if patterns[i], err = parsePattern(text); err != nil {
			return nil, &fault{"subject", i, err}
		}
		if slices.Contains(r.Subject[:i], text) {
			return nil, wrong("subject", i, "subject %q is there twice", text)
		}
	}
	return patterns, nil
}

// templates reads the texts of a field, whose name is the noun and an s.
func (c *compiled) templates(noun string, texts []string, p *pattern) ([]template, *fault) {
	list := make([]template, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = parseTemplate(noun, text, p); err != nil {
			return nil, &fault{noun + "s", i, err}
		}
		for _, prefix := range c.prefixes {
			if n := len(prefix) + list[i].size(); n > MaxKey {
				return nil, wrong(noun+"s", i, "%s has at least %d bytes, the limit is %d", noun, n, MaxKey)
			}
		}
	}
	return list, nil
}

// checkLists checks what can be said of a rule without looking into its templates.
func (r *Rule) checkLists() *fault {
	largest := "keys"
	if len(r.Tags) > len(r.Keys) {
		largest = "tags"
	}
	switch n := max(1, len(r.Prefix)) * (len(r.Keys) + len(r.Tags)); {
	case len(r.Keys)+len(r.Tags) == 0 && !r.Headers:
		return wrong("keys", -1, "the rule has no keys, no tags and no headers: true")
	case max(len(r.Keys), len(r.Tags)) > MaxRuleKeys:
		return wrong(largest, -1, "the rule has %d %s, the limit is %d", max(len(r.Keys), len(r.Tags)), largest, MaxRuleKeys)
	case len(r.Prefix) > MaxRulePrefixes:
		return wrong("prefix", -1, "the rule has %d prefixes, the limit is %d", len(r.Prefix), MaxRulePrefixes)
	case n > MaxEventKeys:
		return wrong(largest, -1, "the rule names %d keys and tags with its prefixes, the limit for an event is %d", n, MaxEventKeys)
	}
	for i, prefix := range r.Prefix {
		if strings.IndexFunc(prefix, unicode.IsControl) >= 0 {
			return wrong("prefix", i, "prefix %q has a control character", prefix)
		}
	}
	for i, op := range r.On {
		if !operation(op) {
			return wrong("on", i, "operation %q is none of insert, update, delete", op)
		}
		if slices.Contains(r.On[:i], op) {
			return wrong("on", i, "operation %q is there twice", op)
		}
	}
	return nil
}

func operation(op string) bool { return op == "insert" || op == "update" || op == "delete" }
