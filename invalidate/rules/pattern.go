package rules

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A pattern is a NATS subject with wildcards: * matches one token, > at the end one or more.
type pattern struct {
	text      string
	tokens    []string
	wildcards []int // index of the token that the n-th wildcard matches
	open      bool  // the last token is >
}

func parsePattern(text string) (pattern, error) {
	switch {
	case text == "":
		return pattern{}, errors.New("empty subject; want a NATS pattern such as users.*.updated")
	case len(text) > event.MaxSubject:
		return pattern{}, fmt.Errorf("subject of %d bytes; want at most %d", len(text), event.MaxSubject)
	case !utf8.ValidString(text):
		return pattern{}, fmt.Errorf("invalid subject %q; want UTF-8", text)
	case text[0] == '$', strings.HasPrefix(text, "_INBOX."), strings.HasPrefix(text, "_OUTBOX."):
		return pattern{}, fmt.Errorf("reserved subject %q; want one that events can have, without $, _INBOX. or _OUTBOX. at its start", text)
	}
	p := pattern{text: text, tokens: strings.Split(text, ".")}
	for i, token := range p.tokens {
		switch {
		case token == "":
			return pattern{}, fmt.Errorf("invalid subject %q; want text before and after each dot", text)
		case token == "*":
			p.wildcards = append(p.wildcards, i)
		case token == ">":
			if i != len(p.tokens)-1 {
				return pattern{}, fmt.Errorf("invalid subject %q; want > only as the last token", text)
			}
			p.wildcards, p.open = append(p.wildcards, i), true
		case strings.ContainsAny(token, "*>"):
			return pattern{}, fmt.Errorf("invalid subject %q; want * or > alone between dots, because NATS takes %q literally", text, token)
		case strings.IndexFunc(token, spaceOrControl) >= 0:
			return pattern{}, fmt.Errorf("invalid subject %q; want no white space or control characters", text)
		}
	}
	return p, nil
}

func spaceOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// matches reports whether the pattern matches a subject, given as its tokens.
func (p *pattern) matches(tokens []string) bool {
	if len(tokens) < len(p.tokens) || len(tokens) > len(p.tokens) && !p.open {
		return false
	}
	for i, token := range p.tokens {
		if token != tokens[i] && token != "*" && token != ">" {
			return false
		}
	}
	return true
}

// covers reports whether p matches every subject that q matches.
func (p *pattern) covers(q *pattern) bool {
	for i, token := range p.tokens {
		switch {
		case i >= len(q.tokens):
			return false
		case token == ">":
			return true
		case q.tokens[i] == ">", token != "*" && token != q.tokens[i]:
			return false
		}
	}
	return len(q.tokens) == len(p.tokens)
}

// overlaps reports whether any subject matches both patterns.
func (p *pattern) overlaps(q *pattern) bool {
	for i, token := range p.tokens {
		if i >= len(q.tokens) {
			return false
		}
		other := q.tokens[i]
		if token == ">" || other == ">" {
			return true
		}
		if token != other && token != "*" && other != "*" {
			return false
		}
	}
	return len(q.tokens) == len(p.tokens)
}
