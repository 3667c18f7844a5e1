package event

import (
	"fmt"
	"regexp"
	"strings"
)

// SubjectPattern translates a NATS pattern into a regular expression for Go and for PostgreSQL. The token * matches one
// token, and > at the end matches one or more. The error wraps ErrInvalid.
func SubjectPattern(pattern string) (*regexp.Regexp, error) {
	tokens := strings.Split(pattern, ".")
	parts := make([]string, len(tokens))
	for i, token := range tokens {
		switch {
		case token == "*":
			parts[i] = `[^.]+`
		case token == ">" && i == len(tokens)-1:
			parts[i] = `.+`
		case token == "", strings.ContainsAny(token, "*>"), strings.IndexFunc(token, notInToken) >= 0:
			return nil, fmt.Errorf("%w: subject pattern %q: want tokens such as users.*.updated or users.>", ErrInvalid, pattern)
		default:
			parts[i] = regexp.QuoteMeta(token)
		}
	}
	expression, err := regexp.Compile(`^` + strings.Join(parts, `\.`) + `$`)
	if err != nil { // not UTF-8
		return nil, fmt.Errorf("%w: subject pattern %q: %w", ErrInvalid, pattern, err)
	}
	return expression, nil
}
