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

// A rule is one rule as the file has it. Its fields have the names and meanings of docs/rules.md.
type rule struct {
	Subject texts         `yaml:"subject"`
	Keys    []string      `yaml:"keys,omitempty"`
	Tags    []string      `yaml:"tags,omitempty"`
	Headers bool          `yaml:"headers,omitempty"`
	Prefix  []string      `yaml:"prefix,omitempty"`
	On      []string      `yaml:"on,omitempty"`
	Echo    texts         `yaml:"echo,omitempty"`
	TTL     texts         `yaml:"ttl,omitempty"`
	Version *versionPaths `yaml:"version,omitempty"`
}

// texts is a list of texts. A file may write a single one without brackets.
type texts []string

// UnmarshalYAML reads one text or a list of them.
func (t *texts) UnmarshalYAML(node ast.Node) error {
	if node.Type() == ast.SequenceType {
		return yaml.NodeToValue(node, (*[]string)(t), yaml.Strict())
	}
	*t = make(texts, 1)
	return yaml.NodeToValue(node, &(*t)[0], yaml.Strict())
}

// versionPaths are the positions of a version, as paths of field names joined by dots.
type versionPaths struct {
	Event string `yaml:"event"` // in the payload of the event
	Value string `yaml:"value"` // in the cached value, which is JSON; "hash:ver" is the field ver of a hash
}

// compiled is a rule for one of its subjects.
type compiled struct {
	pattern  pattern
	keys     []template
	tags     []template
	headers  bool
	prefixes []string
	on       []string
	index    int             // in the file, from 0
	echo     []time.Duration // nil: the default of the invalidator; empty: none
	ttl      Span
	version  *Version
}

// A fault is an error in a rule or an example, with the path of the value that causes it.
type fault struct {
	field string // subject, keys, version.event; empty for the whole
	index int    // in the list of that field, -1 for the field itself
	err   error
}

func faultf(field string, index int, format string, args ...any) *fault {
	return &fault{field, index, fmt.Errorf(format, args...)}
}

// compile checks the rule and returns it once for each subject.
func (r *rule) compile(index int) ([]compiled, *fault) {
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
	// All subjects share the templates, so these are checked against the subject with the fewest wildcards.
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

func (r *rule) patterns() ([]pattern, *fault) {
	if len(r.Subject) == 0 {
		return nil, faultf("subject", -1, "no subject in the rule; want a NATS pattern such as users.*.updated")
	}
	patterns := make([]pattern, len(r.Subject))
	for i, text := range r.Subject {
		var err error
		if patterns[i], err = parsePattern(text); err != nil {
			return nil, &fault{"subject", i, err}
		}
		if slices.Contains(r.Subject[:i], text) {
			return nil, faultf("subject", i, "subject %q is listed twice; remove one of them", text)
		}
	}
	return patterns, nil
}

// templates parses the templates of a field, whose name is the noun in the plural.
func (c *compiled) templates(noun string, texts []string, p *pattern) ([]template, *fault) {
	list := make([]template, len(texts))
	for i, text := range texts {
		var err error
		if list[i], err = parseTemplate(noun, text, p); err != nil {
			return nil, &fault{noun + "s", i, err}
		}
		for _, prefix := range c.prefixes {
			if n := len(prefix) + list[i].size(); n > MaxKey {
				return nil, faultf(noun+"s", i, "%s of at least %d bytes, prefix included; want at most %d", noun, n, MaxKey)
			}
		}
	}
	return list, nil
}

// checkLists checks the lists of a rule without parsing its templates.
func (r *rule) checkLists() *fault {
	largest := "keys"
	if len(r.Tags) > len(r.Keys) {
		largest = "tags"
	}
	switch n := max(1, len(r.Prefix)) * (len(r.Keys) + len(r.Tags)); {
	case len(r.Keys)+len(r.Tags) == 0 && !r.Headers:
		return faultf("keys", -1, "no keys in the rule; want keys, tags or headers: true")
	case max(len(r.Keys), len(r.Tags)) > MaxRuleKeys:
		return faultf(largest, -1, "%d %s in the rule; want at most %d", max(len(r.Keys), len(r.Tags)), largest, MaxRuleKeys)
	case len(r.Prefix) > MaxRulePrefixes:
		return faultf("prefix", -1, "%d prefixes in the rule; want at most %d", len(r.Prefix), MaxRulePrefixes)
	case n > MaxEventKeys:
		return faultf(largest, -1, "%d keys and tags in the rule, prefixes included; want at most %d for one event", n, MaxEventKeys)
	}
	for i, prefix := range r.Prefix {
		if strings.IndexFunc(prefix, unicode.IsControl) >= 0 {
			return faultf("prefix", i, "invalid prefix %q; want no control characters", prefix)
		}
	}
	for i, op := range r.On {
		if !isOperation(op) {
			return faultf("on", i, "invalid operation %q; want insert, update or delete", op)
		}
		if slices.Contains(r.On[:i], op) {
			return faultf("on", i, "operation %q is listed twice; remove one of them", op)
		}
	}
	return nil
}

func isOperation(op string) bool { return op == "insert" || op == "update" || op == "delete" }
