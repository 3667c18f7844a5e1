package rules

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// maxDepth limits the nesting of a file, because the YAML parser is recursive. A valid rule file has four levels.
const maxDepth = 32

// A textFile is a YAML file whose errors point to a line and a column.
type textFile struct {
	name string // of the file, for errors
	noun string // its kind, for errors: a rule file
	text string
	root *ast.File
}

// decode reads the only document of the file into content, and rejects unknown fields.
func (f *textFile) decode(data []byte, content any) error {
	if len(data) > MaxRuleFile {
		return f.errorfAt(nil, "file of %d bytes; want at most %d", len(data), MaxRuleFile)
	}
	if !utf8.Valid(data) {
		return f.errorAt(nil, "invalid UTF-8 in the file; save it as UTF-8")
	}
	f.text = string(data)
	tokens := lexer.Tokenize(f.text)
	if err := f.checkTokens(tokens); err != nil {
		return err
	}
	var err error
	if f.root, err = parser.Parse(tokens, 0); err != nil {
		return f.wrap(err, content)
	}
	switch {
	case len(f.root.Docs) > 1:
		return f.errorAt(start(f.root.Docs[1]), "second document in the file; want one, remove the line ---")
	case len(f.root.Docs) == 1 && f.root.Docs[0].Body != nil:
		if err := yaml.NodeToValue(f.root.Docs[0].Body, content, yaml.Strict()); err != nil {
			return f.wrap(err, content)
		}
	}
	return nil
}

// checkTokens rejects, before the parser runs, everything with which a file could make it use memory or stack without bound.
func (f *textFile) checkTokens(tokens token.Tokens) error {
	flow := 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType, token.MergeKeyType:
			return f.errorAt(t, "anchor or alias in "+f.noun+"; write out the values, and quote a text that begins with * or &")
		case token.TagType, token.DirectiveType:
			return f.errorAt(t, "YAML tag or directive in "+f.noun+"; remove it")
		case token.SequenceStartType, token.MappingStartType:
			flow++
		case token.SequenceEndType, token.MappingEndType:
			flow--
		}
		block := t.Type == token.SequenceEntryType || t.Type == token.MappingValueType || t.Type == token.MappingKeyType
		// The column of a block bounds its depth, and no valid file has a block that begins far to the right.
		if flow > maxDepth || block && flow <= 0 && t.Position.Column > 8*maxDepth {
			return f.errorfAt(t, "nesting too deep; want at most %d levels", maxDepth)
		}
	}
	return nil
}

// errorIn returns an error that points into an item of a top-level list.
func (f *textFile) errorIn(list string, item int, at *fault) error {
	return f.errorAt(f.find(list, item, at.field, at.index), at.err.Error())
}

// find returns the token of a value in an item of a top-level list, or of the innermost value around it that exists.
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

// start returns the first token of a node. The token of a mapping would be the colon after its first key.
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

// errorAt returns an error that points at a token, or at the whole file if the token is nil.
func (f *textFile) errorAt(t *token.Token, message string) error {
	if t == nil || t.Position == nil {
		return fmt.Errorf("%s: %s", f.name, message)
	}
	return fmt.Errorf("%s: %s%s", f.position(t), message, f.excerpt(t.Position.Line, t.Position.Column))
}

// errorfAt is errorAt with a format.
func (f *textFile) errorfAt(t *token.Token, format string, args ...any) error {
	return f.errorAt(t, fmt.Sprintf(format, args...))
}

// position returns name:line:column of a token, or the name alone if the token is nil.
func (f *textFile) position(t *token.Token) string {
	if t == nil || t.Position == nil {
		return f.name
	}
	return fmt.Sprintf("%s:%d:%d", f.name, t.Position.Line, t.Position.Column)
}

// excerpt returns the line, the lines before and after it, and a mark under the column.
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
