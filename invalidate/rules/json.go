package rules

import (
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// jsonText is the payload of an example. A YAML text is used unchanged; any other YAML becomes JSON, with its numbers as
// written.
type jsonText []byte

// UnmarshalYAML reads any value.
func (t *jsonText) UnmarshalYAML(node ast.Node) error {
	switch n := node.(type) {
	case *ast.StringNode:
		if !bareNumber(n) {
			*t = jsonText(n.Value)
			return nil
		}
	case *ast.LiteralNode:
		*t = jsonText(n.Value.Value)
		return nil
	}
	text, err := appendJSON(nil, node)
	*t = text
	return err
}

func appendJSON(text []byte, node ast.Node) ([]byte, error) {
	var err error
	switch n := node.(type) {
	case *ast.MappingNode:
		text = append(text, '{')
		for i, value := range n.Values {
			if i > 0 {
				text = append(text, ',')
			}
			if text, err = appendMember(text, value); err != nil {
				return nil, err
			}
		}
		return append(text, '}'), nil
	case *ast.MappingValueNode: // a mapping of one field
		if text, err = appendMember(append(text, '{'), n); err != nil {
			return nil, err
		}
		return append(text, '}'), nil
	case *ast.SequenceNode:
		text = append(text, '[')
		for i, value := range n.Values {
			if i > 0 {
				text = append(text, ',')
			}
			if text, err = appendJSON(text, value); err != nil {
				return nil, err
			}
		}
		return append(text, ']'), nil
	}
	return appendScalar(text, node)
}

func appendMember(text []byte, field *ast.MappingValueNode) ([]byte, error) {
	name := field.Key.GetToken().Value
	if key, ok := field.Key.(*ast.StringNode); ok {
		name = key.Value
	}
	text = append(quoted(text, name), ':')
	return appendJSON(text, field.Value)
}

func appendScalar(text []byte, node ast.Node) ([]byte, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		if bareNumber(n) {
			return append(text, n.Value...), nil
		}
		return quoted(text, n.Value), nil
	case *ast.LiteralNode:
		return quoted(text, n.Value.Value), nil
	case *ast.NullNode:
		return append(text, "null"...), nil
	case *ast.BoolNode:
		return fmt.Append(text, n.Value), nil
	case *ast.IntegerNode:
		return appendNumber(text, n.Token, n.Value), nil
	case *ast.FloatNode:
		return appendNumber(text, n.Token, n.Value), nil
	}
	return nil, &yaml.SyntaxError{
		Message: fmt.Sprintf("%s has no JSON form; want a text, number, list, mapping, true, false or null", node.GetToken().Value), Token: node.GetToken(),
	}
}

// appendNumber appends a number as it was written, or its value if JSON does not allow that form: 0x10, .5, 1_000.
func appendNumber(text []byte, t *token.Token, value any) []byte {
	if json.Valid([]byte(t.Value)) {
		return append(text, t.Value...)
	}
	return fmt.Append(text, value)
}

// bareNumber reports whether a text is an unquoted number that is too large for the YAML package, which returns it as a
// text.
func bareNumber(n *ast.StringNode) bool {
	if n.Token.Type != token.StringType || n.Value == "" {
		return false
	}
	c := n.Value[0]
	return (c == '-' || c >= '0' && c <= '9') && json.Valid([]byte(n.Value))
}

func quoted(text []byte, value string) []byte {
	out, err := json.Marshal(value)
	if err != nil {
		panic(err) // json.Marshal of a string returns no error
	}
	return append(text, out...)
}
