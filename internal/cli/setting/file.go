package setting

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
)

// maxFile bounds the file in bytes; the one of outbox config init has 9 KiB.
const maxFile = 128 << 10

// maxNesting bounds the levels of the file, because the YAML parser recurses.
const maxNesting = 16

// A reader reads a settings file:
//
//	database_url: postgres://relay:${PGPASSWORD}@db/app
//	relay:
//	  subjects: [users.>, orders.>]
//	  listen: 0.0.0.0:9464
//
// Keys are the names of the flags with _ for -; those of one command are in a section of its name. A list may be a YAML
// list or a text with commas. ${NAME} in a value is an environment variable, which must be set; any other $ is literal.
// Unknown keys, keys that appear twice and invalid values are errors with line and column, and all of them are reported.
// After a mistake in the YAML itself, the rest of the file cannot be read.
type reader struct {
	path   string
	lookup func(string) (string, bool)
	known  map[string]*Setting
	values map[string]Origin
	first  map[string]Position // of each key and section
	flaws  []error
}

// ReadFile returns the settings of a file, by key; none if path is empty. lookup finds the variables that the file
// names. With an error it returns those settings that are valid.
func ReadFile(path string, lookup func(string) (string, bool)) (map[string]Origin, error) {
	if path == "" {
		return nil, nil
	}
	data, err := ReadAtMost(path, maxFile)
	if err != nil {
		return nil, exit.Usagef(nil, "read settings: %w", err)
	}
	return parseFile(path, data, lookup)
}

func parseFile(path string, data []byte, lookup func(string) (string, bool)) (map[string]Origin, error) {
	f := &reader{path: path, lookup: lookup, known: make(map[string]*Setting), values: make(map[string]Origin), first: make(map[string]Position)}
	if !utf8.Valid(data) {
		return nil, exit.Usagef(nil, "%s: want a file in UTF-8", path)
	}
	for _, s := range table {
		f.known[s.Key()] = s
	}
	if f.parse(data); len(f.flaws) > 0 {
		return f.values, join(f.flaws)
	}
	return f.values, nil
}

func (f *reader) parse(data []byte) {
	tokens := lexer.Tokenize(string(data))
	if !f.sane(tokens) {
		return
	}
	root, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // mapping reports both positions
	if err != nil {
		if at, ok := errors.AsType[yaml.Error](err); ok { // its own text quotes lines of the file, which may contain a secret
			f.flaw(at.GetToken(), errors.New(at.GetMessage()))
			return
		}
		f.flaw(nil, err)
		return
	}
	for i, doc := range root.Docs {
		if i > 0 {
			f.flaw(doc.GetToken(), errors.New("want one YAML document, found another"))
			return
		}
		if doc.Body != nil {
			f.mapping(doc.Body, "")
		}
	}
}

// sane refuses, before the parser runs, input that could make it use unbounded memory or stack. A valid file nests two
// levels.
func (f *reader) sane(tokens token.Tokens) bool {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			f.flaw(t, errors.New("anchors, aliases, tags and directives are not supported; quote a text that begins with & * ! or %"))
			return false
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		// The column of a block bounds its depth.
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingValueType || t.Type == token.MappingKeyType
		if flow > maxNesting || block && flow <= 0 && t.Position.Column > 8*maxNesting {
			f.flaw(t, errors.New("the file is nested too deeply"))
			return false
		}
	}
	return true
}

// mapping reads the keys of the file itself (section is empty) or of one section, which may have none.
func (f *reader) mapping(node ast.Node, section string) {
	entries, ok := node.(ast.MapNode)
	if _, empty := node.(*ast.NullNode); empty && section != "" {
		return
	}
	if !ok {
		f.flaw(node.GetToken(), errors.New("want keys and values"))
		return
	}
	for it := entries.MapRange(); it.Next(); {
		at := it.Key().GetToken()
		key := strings.TrimPrefix(section+"."+at.Value, ".")
		s := f.known[key]
		isSection := section == "" && slices.Contains(sections(), key)
		if s == nil && !isSection {
			f.flaw(at, fmt.Errorf("unknown key %q%s", key, exit.Suggest(key, f.keys())))
			continue
		}
		if old, ok := f.first[key]; ok {
			f.flaw(at, fmt.Errorf("duplicate key %q; first at %s", key, old))
			continue
		}
		f.first[key] = f.position(at)
		if s == nil {
			f.mapping(it.Value(), key)
		} else {
			f.set(s, it.Value(), at)
		}
	}
}

func (f *reader) set(s *Setting, node ast.Node, at *token.Token) {
	items := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		if !s.form.many {
			f.flaw(node.GetToken(), fmt.Errorf("%s: want one value, found a list", s.Key()))
			return
		}
		items = list.Values
	}
	var texts []string
	bare := false
	for _, item := range items {
		text, err := f.scalar(item)
		if err == nil {
			bare = bare || s.secret && redact.HoldsSecret(text)
			text, err = expand(text, f.lookup)
		}
		if err != nil {
			f.flaw(item.GetToken(), err)
			return
		}
		texts = append(texts, text)
	}
	value := strings.Join(texts, ",")
	if err := s.Check(value); err != nil {
		f.flaw(node.GetToken(), s.invalid(s.Key(), err))
		return
	}
	f.values[s.Key()] = Origin{Setting: s, Value: value, From: fmt.Sprintf("file %s:%d", f.path, at.Position.Line), Position: f.position(at), Bare: bare}
}

// scalar returns the text of a value as written: 010, not 8.
func (f *reader) scalar(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	case *ast.NullNode:
		return "", nil
	}
	return "", errors.New("want a text, a number, true or false")
}

// expand replaces each ${NAME} with the value of the variable.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(before) //nolint:errcheck // a Builder never fails
		if !found {
			return b.String(), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("want } after ${")
		}
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("environment variable %q is not set", name)
		}
		b.WriteString(value) //nolint:errcheck
		text = after
	}
}

// sections returns the sections of the file, in the order of the table.
func sections() []string {
	var out []string
	for _, s := range table {
		if s.section != "" && !slices.Contains(out, s.section) {
			out = append(out, s.section)
		}
	}
	return out
}

func (f *reader) keys() []string {
	out := sections()
	for _, s := range table {
		out = append(out, s.Key())
	}
	return out
}

func (f *reader) position(t *token.Token) Position {
	if t == nil || t.Position == nil {
		return Position{File: f.path}
	}
	return Position{f.path, t.Position.Line, t.Position.Column}
}

func (f *reader) flaw(t *token.Token, err error) {
	f.flaws = append(f.flaws, exit.Usagef(nil, "%w", &positionError{f.position(t), err}))
}
