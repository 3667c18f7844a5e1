package rules

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

// maxDepth is how deeply a rule file may nest; a right one nests four levels. The YAML parser recurses.
const maxDepth = 32

// Parse reads a rule file:
//
//	rules:
//	  - subject: users.*.updated
//	    keys: ["user:$1:profile", "user:$1:orders", "users:all"]
//	    prefix: ["", "MyApp:"]
//	    on: [update, delete]
//
// It is strict: an unknown field, a placeholder that cannot be resolved and everything beyond the limits is
// an error, so that a rule either works for an event or the event is at fault. An error begins with
// name:line:column and shows the lines around it. Anchors, aliases and a second document are refused: they
// let a small file grow without bound.
func Parse(name string, data []byte) (*Set, error) {
	f := ruleFile{name: name, text: string(data)}
	if len(data) > MaxRuleFile {
		return nil, fmt.Errorf("%s: the file has %d bytes, the limit is %d", name, len(data), MaxRuleFile)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%s: the file is not UTF-8", name)
	}
	list, err := f.decode()
	if err != nil {
		return nil, err
	}
	rules := make([]compiled, len(list))
	for i := range list {
		var wrong *fault
		if rules[i], wrong = list[i].compile(); wrong != nil {
			return nil, f.errorAt(f.find(i, wrong), wrong.err.Error())
		}
		rules[i].index = i
	}
	return newSet(rules), nil
}

// A ruleFile is the text of a rule file and what is needed to point into it.
type ruleFile struct {
	name, text string
	root       *ast.File
}

func (f *ruleFile) decode() ([]Rule, error) {
	tokens := lexer.Tokenize(f.text)
	if err := f.checkTokens(tokens); err != nil {
		return nil, err
	}
	var err error
	if f.root, err = parser.Parse(tokens, 0); err != nil {
		return nil, f.wrap(err)
	}
	var content struct {
		Rules []Rule `yaml:"rules"`
	}
	switch {
	case len(f.root.Docs) > 1:
		return nil, f.errorAt(start(f.root.Docs[1]), "the file has more than one document")
	case len(f.root.Docs) == 1 && f.root.Docs[0].Body != nil:
		if err := yaml.NodeToValue(f.root.Docs[0].Body, &content, yaml.Strict()); err != nil {
			return nil, f.wrap(err)
		}
	}
	switch {
	case len(content.Rules) == 0:
		return nil, f.errorAt(nil, "the file has no rules")
	case len(content.Rules) > MaxRules:
		return nil, f.errorAt(nil, fmt.Sprintf("the file has %d rules, the limit is %d", len(content.Rules), MaxRules))
	}
	return content.Rules, nil
}

// checkTokens refuses, before anything is parsed, what could make the parser use memory or stack without
// measure.
func (f *ruleFile) checkTokens(tokens token.Tokens) error {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return f.errorAt(t, "anchors and aliases are not allowed in a rule file; quote a text that begins with * or &")
		case token.TagType, token.DirectiveType:
			return f.errorAt(t, "tags and directives are not allowed in a rule file")
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingValueType || t.Type == token.MappingKeyType
		// A block cannot nest deeper than its column, and no sane one begins far to the right.
		if flow > maxDepth || block && flow <= 0 && t.Position.Column > 8*maxDepth {
			return f.errorAt(t, "the file nests too deeply")
		}
	}
	return nil
}

// find returns the token of the value that is wrong, or the nearest one around it.
func (f *ruleFile) find(rule int, wrong *fault) *token.Token {
	path := fmt.Sprintf("$.rules[%d]", rule)
	tries := []string{path}
	if wrong.field != "" {
		tries = append(tries, path+"."+wrong.field)
		if wrong.index >= 0 {
			tries = append(tries, fmt.Sprintf("%s.%s[%d]", path, wrong.field, wrong.index))
		}
	}
	var found *token.Token
	for _, text := range tries {
		p, err := yaml.PathString(text)
		if err != nil {
			break
		}
		node, err := p.FilterFile(f.root)
		if err != nil || node == nil {
			break
		}
		found = start(node)
	}
	return found
}

// start returns the token where a node begins; the token of a mapping is the colon behind its first key.
func start(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.DocumentNode:
		if n.Body != nil {
			return start(n.Body)
		}
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return node.GetToken()
}

// wrap turns an error of the YAML package into ours.
func (f *ruleFile) wrap(err error) error {
	var at yaml.Error
	if errors.As(err, &at) {
		return f.errorAt(at.GetToken(), at.GetMessage())
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// errorAt returns an error that points at a token, at the whole file if it is nil.
func (f *ruleFile) errorAt(t *token.Token, message string) error {
	if t == nil || t.Position == nil {
		return fmt.Errorf("%s: %s", f.name, message)
	}
	line, column := t.Position.Line, t.Position.Column
	return fmt.Errorf("%s:%d:%d: %s%s", f.name, line, column, message, f.excerpt(line, column))
}

// excerpt shows the line, the one before and the one behind it, and points at the column.
func (f *ruleFile) excerpt(line, column int) string {
	const widest = 160 // characters of a line that are shown
	lines := strings.Split(strings.TrimRight(f.text, "\n"), "\n")
	var b strings.Builder
	for n := max(1, line-1); n <= min(len(lines), line+1); n++ {
		text := []rune(strings.TrimRight(strings.ReplaceAll(lines[n-1], "\t", " "), "\r"))
		fmt.Fprintf(&b, "\n%5d | %s", n, string(text[:min(len(text), widest)]))
		if n == line && column <= widest {
			fmt.Fprintf(&b, "\n      | %s^", strings.Repeat(" ", max(0, column-1)))
		}
	}
	return b.String()
}
