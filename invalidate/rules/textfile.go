package rules

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth is how deeply a file may nest; a right rule file nests four levels. The YAML parser recurses.
const maxDepth = 32

// A textFile is the text of a YAML file and what is needed to point into it.
type textFile struct {
	name string // of the file
	noun string // what it is: a rule file
	text string
	root *ast.File
}

// decode reads the one document of the file, strictly.
func (f *textFile) decode(data []byte, content any) error {
	if len(data) > MaxRuleFile {
		return fmt.Errorf("%s: the file has %d bytes, the limit is %d", f.name, len(data), MaxRuleFile)
	}
	if !utf8.Valid(data) {
		return fmt.Errorf("%s: the file is not UTF-8", f.name)
	}
	f.text = string(data)
	tokens := lexer.Tokenize(f.text)
	if err := f.checkTokens(tokens); err != nil {
		return err
	}
	var err error
	if f.root, err = parser.Parse(tokens, 0); err != nil {
		return f.wrap(err)
	}
	switch {
	case len(f.root.Docs) > 1:
		return f.errorAt(start(f.root.Docs[1]), "the file has more than one document")
	case len(f.root.Docs) == 1 && f.root.Docs[0].Body != nil:
		if err := yaml.NodeToValue(f.root.Docs[0].Body, content, yaml.Strict()); err != nil {
			return f.wrap(err)
		}
	}
	return nil
}

// checkTokens refuses, before anything is parsed, what could make the parser use memory or stack without
// measure.
func (f *textFile) checkTokens(tokens token.Tokens) error {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return f.errorAt(t, "anchors and aliases are not allowed in "+f.noun+"; quote a text that begins with * or &")
		case token.TagType, token.DirectiveType:
			return f.errorAt(t, "tags and directives are not allowed in "+f.noun)
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

// errorIn returns an error that points into an item of a list at the top.
func (f *textFile) errorIn(list string, item int, at *fault) error {
	return f.errorAt(f.find(list, item, at.field, at.index), at.err.Error())
}

// find returns the token of a value in an item of a list at the top, or of the nearest one around it.
func (f *textFile) find(list string, item int, field string, index int) *token.Token {
	path := fmt.Sprintf("$.%s[%d]", list, item)
	tries := []string{path}
	if field != "" {
		for name := range strings.SplitSeq(field, ".") {
			path += "." + name
			tries = append(tries, path)
		}
		if index >= 0 {
			tries = append(tries, fmt.Sprintf("%s[%d]", path, index))
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
func (f *textFile) wrap(err error) error {
	if t, ok := errors.AsType[*yaml.TypeError](err); ok {
		return f.errorAt(t.Token, fmt.Sprintf("found %s where %s is due", typeText(t.SrcType), typeText(t.DstType)))
	}
	var at yaml.Error
	if errors.As(err, &at) {
		return f.errorAt(at.GetToken(), at.GetMessage())
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// typeText says in words of YAML what a Go type holds.
func typeText(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Map, reflect.Struct:
		return "a mapping"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return "a number"
	}
	return "a " + t.String()
}

// errorAt returns an error that points at a token, at the whole file if it is nil.
func (f *textFile) errorAt(t *token.Token, message string) error {
	if t == nil || t.Position == nil {
		return fmt.Errorf("%s: %s", f.name, message)
	}
	return fmt.Errorf("%s: %s%s", f.place(t), message, f.excerpt(t.Position.Line, t.Position.Column))
}

// place is name:line:column of a token, the name alone if it is nil.
func (f *textFile) place(t *token.Token) string {
	if t == nil || t.Position == nil {
		return f.name
	}
	return fmt.Sprintf("%s:%d:%d", f.name, t.Position.Line, t.Position.Column)
}

// excerpt shows the line, the one before and the one behind it, and points at the column.
func (f *textFile) excerpt(line, column int) string {
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
