package rules

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// wrap converts an error of the YAML package. content is the destination of the values.
func (f *textFile) wrap(err error, content any) error {
	if t, ok := errors.AsType[*yaml.TypeError](err); ok {
		return f.errorfAt(t.Token, "want %s, found %s", typeText(t.DstType), typeText(t.SrcType))
	}
	if t, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](err); ok {
		hint := ""
		if t.Expected == ast.SequenceType && t.Actual == ast.StringType {
			hint = fmt.Sprintf("; write [%q]", t.Token.Value)
		}
		return f.errorfAt(t.Token, "want %s, found %s%s", nodeText(t.Expected), nodeText(t.Actual), hint)
	}
	if t, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		message := t.GetMessage()
		if fields := fieldsAround(f.root.Docs[0].Body, reflect.TypeOf(content), t.Token); fields != nil {
			message += "; want " + strings.Join(fields, ", ")
		}
		return f.errorAt(t.Token, message)
	}
	var at yaml.Error
	if errors.As(err, &at) {
		return f.errorAt(at.GetToken(), at.GetMessage())
	}
	return fmt.Errorf("%s: %w", f.name, err)
}

// fieldsAround returns the names of all fields that the mapping with the key at may have. A node has the type t in Go.
func fieldsAround(node ast.Node, t reflect.Type, at *token.Token) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch n := node.(type) {
	case *ast.SequenceNode:
		for _, item := range n.Values {
			if fields := fieldsAround(item, t, at); fields != nil {
				return fields
			}
		}
	case *ast.MappingNode:
		for _, value := range n.Values {
			if fields := fieldsAround(value, t, at); fields != nil {
				return fields
			}
		}
	case *ast.MappingValueNode:
		if t.Kind() != reflect.Struct {
			return nil
		}
		names := make([]string, t.NumField())
		for i := range names {
			names[i], _, _ = strings.Cut(t.Field(i).Tag.Get("yaml"), ",")
			if n.Key.GetToken().Value != names[i] {
				continue
			}
			if fields := fieldsAround(n.Value, t.Field(i).Type, at); fields != nil {
				return fields
			}
		}
		if n.Key.GetToken() == at {
			return names
		}
	}
	return nil
}

// typeText names a Go type in the words of YAML.
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

// nodeText names the type of a YAML node like typeText.
func nodeText(t ast.NodeType) string {
	switch t {
	case ast.MappingType, ast.MappingValueType:
		return "a mapping"
	case ast.SequenceType:
		return "a list"
	case ast.StringType, ast.LiteralType:
		return "a text"
	case ast.BoolType:
		return "true or false"
	case ast.IntegerType, ast.FloatType:
		return "a number"
	}
	return "a " + t.YAMLName()
}
