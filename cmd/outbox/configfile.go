package main

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
)

// maxConfigFile bounds the file; that of outbox config init has 9 KiB.
const maxConfigFile = 128 << 10

// maxNesting bounds its levels. The YAML parser recurses.
const maxNesting = 16

// A configFile is the file of settings being read:
//
//	database_url: postgres://relay:${PGPASSWORD}@db/app
//	relay:
//	  subjects: [users.>, orders.>]
//	  listen: 0.0.0.0:9464
//
// Its keys are the names of the flags with _ for -, those of one command under its name. A list may be written as
// one. ${NAME} in a value is a variable of the environment, which must be set; any other $ is a dollar. Unknown
// keys, keys given twice and values that will not do are errors with line and column, and all of them are told; behind
// a mistake in the YAML itself nothing is.
type configFile struct {
	path   string
	lookup func(string) (string, bool)
	known  map[string]*setting
	values map[string]origin
	first  map[string]place // of each key and section
	flaws  []error
}

// readConfigFile returns the settings of a file; none if path is empty. With an error it returns those that will do.
func readConfigFile(path string, lookup func(string) (string, bool)) (map[string]origin, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readAtMost(path, maxConfigFile)
	if err != nil {
		return nil, usagef(nil, "read config: %w", err)
	}
	return parseConfigFile(path, data, lookup)
}

func parseConfigFile(path string, data []byte, lookup func(string) (string, bool)) (map[string]origin, error) {
	f := &configFile{path: path, lookup: lookup, known: make(map[string]*setting), values: make(map[string]origin), first: make(map[string]place)}
	if !utf8.Valid(data) {
		return nil, usagef(nil, "%s: the file is not UTF-8", path)
	}
	for _, s := range settingTable {
		f.known[s.key()] = s
	}
	if f.parse(data); len(f.flaws) > 0 {
		return f.values, allOf(f.flaws)
	}
	return f.values, nil
}

func (f *configFile) parse(data []byte) {
	tokens := lexer.Tokenize(string(data))
	if !f.sane(tokens) {
		return
	}
	root, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // we know where the other one is
	if err != nil {
		if at, ok := errors.AsType[yaml.Error](err); ok { // its own text quotes lines around, which may hold a secret
			f.flaw(at.GetToken(), errors.New(at.GetMessage()))
			return
		}
		f.flaw(nil, err)
		return
	}
	for i, doc := range root.Docs {
		if i > 0 {
			f.flaw(doc.GetToken(), errors.New("the file has more than one document"))
			return
		}
		if doc.Body != nil {
			f.mapping(doc.Body, "")
		}
	}
}

// sane refuses, before anything is parsed, what could make the parser use memory or stack without measure: the
// file nests two levels.
func (f *configFile) sane(tokens token.Tokens) bool {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			f.flaw(t, errors.New("anchors, aliases, tags and directives have no use here; quote a text that begins with & * ! or %"))
			return false
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		// A block cannot nest deeper than its column, and no sane one begins far to the right.
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingValueType || t.Type == token.MappingKeyType
		if flow > maxNesting || block && flow <= 0 && t.Position.Column > 8*maxNesting {
			f.flaw(t, errors.New("the file nests too deeply"))
			return false
		}
	}
	return true
}

// mapping reads the keys of the file itself or of one section, which may be empty.
func (f *configFile) mapping(node ast.Node, section string) {
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
			f.flaw(at, fmt.Errorf("unknown key %q%s", key, suggest(key, f.keys())))
			continue
		}
		if old, ok := f.first[key]; ok {
			f.flaw(at, fmt.Errorf("key %q is there twice, first at %s", key, old))
			continue
		}
		f.first[key] = f.place(at)
		if s == nil {
			f.mapping(it.Value(), key)
		} else {
			f.set(s, it.Value(), at)
		}
	}
}

func (f *configFile) set(s *setting, node ast.Node, at *token.Token) {
	items := []ast.Node{node}
	if list, ok := node.(*ast.SequenceNode); ok {
		if !s.form.many {
			f.flaw(node.GetToken(), fmt.Errorf("%s is no list", s.key()))
			return
		}
		items = list.Values
	}
	var texts []string
	bare := false
	for _, item := range items {
		text, err := f.scalar(item)
		if err == nil {
			bare = bare || s.secret && holdsSecret(text)
			text, err = expand(text, f.lookup)
		}
		if err != nil {
			f.flaw(item.GetToken(), err)
			return
		}
		texts = append(texts, text)
	}
	value := strings.Join(texts, ",")
	if err := s.check(value); err != nil {
		f.flaw(node.GetToken(), s.refuse(s.key(), value, err))
		return
	}
	f.values[s.key()] = origin{setting: s, value: value, from: fmt.Sprintf("file %s:%d", f.path, at.Position.Line), place: f.place(at), bare: bare}
}

// scalar is the text of a value as it is written, 010 and not 8.
func (f *configFile) scalar(node ast.Node) (string, error) {
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

// expand fills in ${NAME}.
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
			return "", errors.New("${ without }")
		}
		value, ok := lookup(name)
		if !ok {
			return "", fmt.Errorf("variable %q is not set", name)
		}
		b.WriteString(value) //nolint:errcheck
		text = after
	}
}

// sections are those of the file, in the order of the table.
func sections() []string {
	var out []string
	for _, s := range settingTable {
		if s.section != "" && !slices.Contains(out, s.section) {
			out = append(out, s.section)
		}
	}
	return out
}

func (f *configFile) keys() []string {
	out := sections()
	for _, s := range settingTable {
		out = append(out, s.key())
	}
	return out
}

func (f *configFile) place(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{file: f.path}
	}
	return place{f.path, t.Position.Line, t.Position.Column}
}

func (f *configFile) flaw(t *token.Token, err error) {
	f.flaws = append(f.flaws, usagef(nil, "%w", &placeError{f.place(t), err}))
}
