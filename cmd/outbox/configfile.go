package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxConfigFile bounds the file; a full one has about 2 KiB.
const maxConfigFile = 1 << 20

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
// keys, keys given twice and values that will not do are errors with line and column.
type configFile struct {
	path   string
	lookup func(string) (string, bool)
	known  map[string]*setting
	values map[string]origin
}

// readConfigFile returns the settings of a file; none if path is empty.
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
	if !utf8.Valid(data) {
		return nil, usagef(nil, "%s: the file is not UTF-8", path)
	}
	f := &configFile{path: path, lookup: lookup, known: make(map[string]*setting), values: make(map[string]origin)}
	for _, s := range settingTable {
		f.known[s.key()] = s
	}
	tokens := lexer.Tokenize(string(data))
	if err := f.checkTokens(tokens); err != nil {
		return nil, err
	}
	root, err := parser.Parse(tokens, 0)
	if err != nil {
		if at, ok := errors.AsType[yaml.Error](err); ok { // its own text quotes lines around, which may hold a secret
			return nil, f.errorAt(at.GetToken(), "%s", at.GetMessage())
		}
		return nil, usagef(nil, "%s: %w", path, err)
	}
	for i, doc := range root.Docs {
		if i > 0 {
			return nil, f.errorAt(doc.GetToken(), "the file has more than one document")
		}
		if doc.Body == nil {
			continue
		}
		if err := f.mapping(doc.Body, ""); err != nil {
			return nil, err
		}
	}
	return f.values, nil
}

// checkTokens refuses, before anything is parsed, what could make the parser use memory or stack without measure: the
// file nests two levels.
func (f *configFile) checkTokens(tokens token.Tokens) error {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType, token.TagType, token.DirectiveType:
			return f.errorAt(t, "anchors, aliases, tags and directives have no use here; quote a text that begins with & * ! or %%")
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		// A block cannot nest deeper than its column, and no sane one begins far to the right.
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingValueType || t.Type == token.MappingKeyType
		if flow > maxNesting || block && flow <= 0 && t.Position.Column > 8*maxNesting {
			return f.errorAt(t, "the file nests too deeply")
		}
	}
	return nil
}

// mapping reads the keys of the file itself or of one section.
func (f *configFile) mapping(node ast.Node, section string) error {
	entries, ok := node.(ast.MapNode)
	if !ok {
		return f.errorAt(node.GetToken(), "want keys and values")
	}
	for it := entries.MapRange(); it.Next(); {
		at := it.Key().GetToken()
		key := strings.TrimPrefix(section+"."+at.Value, ".")
		s := f.known[key]
		switch {
		case s == nil && section == "" && f.isSection(key):
			if err := f.mapping(it.Value(), key); err != nil {
				return err
			}
		case s == nil:
			return f.errorAt(at, "unknown key %q%s", key, suggest(key, f.keys()))
		default:
			if err := f.set(s, it.Value(), at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *configFile) set(s *setting, node ast.Node, at *token.Token) error {
	if old, ok := f.values[s.key()]; ok {
		return f.errorAt(at, "key %q is there twice, first at %s", s.key(), strings.TrimPrefix(old.from, "file "))
	}
	var texts []string
	if list, ok := node.(*ast.SequenceNode); ok {
		for _, item := range list.Values {
			text, err := f.scalar(item)
			if err != nil {
				return err
			}
			texts = append(texts, text)
		}
	} else {
		text, err := f.scalar(node)
		if err != nil {
			return err
		}
		texts = []string{text}
	}
	value := strings.Join(texts, ",")
	if s.check != nil && value != "" {
		if err := s.check(value); err != nil {
			return s.refuse(f.position(node.GetToken())+": "+s.key(), value, err)
		}
	}
	f.values[s.key()] = origin{setting: s, value: value, from: fmt.Sprintf("file %s:%d", f.path, at.Position.Line)}
	return nil
}

// scalar is the text of a value as it is written, 010 and not 8, with its variables filled in.
func (f *configFile) scalar(node ast.Node) (string, error) {
	var text string
	switch n := node.(type) {
	case *ast.StringNode:
		text = n.Value
	case *ast.LiteralNode:
		text = strings.TrimSpace(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		text = n.GetToken().Value
	case *ast.NullNode:
		return "", nil
	default:
		return "", f.errorAt(node.GetToken(), "want a text, a number, true or false")
	}
	expanded, err := expand(text, f.lookup)
	if err != nil {
		return "", f.errorAt(node.GetToken(), "%w", err)
	}
	return expanded, nil
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

func (f *configFile) isSection(key string) bool {
	for _, s := range settingTable {
		if s.section == key {
			return true
		}
	}
	return false
}

func (f *configFile) keys() []string {
	var out []string
	for _, s := range settingTable {
		out = append(out, s.key())
	}
	return out
}

func (f *configFile) position(t *token.Token) string {
	if t == nil || t.Position == nil {
		return f.path
	}
	return fmt.Sprintf("%s:%d:%d", f.path, t.Position.Line, t.Position.Column)
}

func (f *configFile) errorAt(t *token.Token, format string, args ...any) error {
	return usagef(nil, f.position(t)+": "+format, args...)
}
