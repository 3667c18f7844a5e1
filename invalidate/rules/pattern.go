package rules

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A pattern is a NATS subject with wildcards: * stands for one token, > at the end for one or more.
type pattern struct {
	text      string
	tokens    []string
	wildcards []int // index of the token that the n-th wildcard stands for
	open      bool  // the last token is >
}

func parsePattern(text string) (pattern, error) {
	switch {
	case text == "":
		return pattern{}, fmt.Errorf("subject is empty")
	case len(text) > event.MaxSubject:
		return pattern{}, fmt.Errorf("subject has %d bytes, the limit is %d", len(text), event.MaxSubject)
	case !utf8.ValidString(text):
		return pattern{}, fmt.Errorf("subject %q is not UTF-8", text)
	case text[0] == '$', strings.HasPrefix(text, "_INBOX."), strings.HasPrefix(text, "_OUTBOX."):
		return pattern{}, fmt.Errorf("subject %q is reserved, no event has it", text)
	}
	p := pattern{text: text, tokens: strings.Split(text, ".")}
	for i, token := range p.tokens {
		switch {
		case token == "":
			return pattern{}, fmt.Errorf("subject %q has an empty token", text)
		case token == "*":
			p.wildcards = append(p.wildcards, i)
		case token == ">":
			if i != len(p.tokens)-1 {
				return pattern{}, fmt.Errorf("subject %q goes on behind >", text)
			}
			p.wildcards, p.open = append(p.wildcards, i), true
		case strings.ContainsAny(token, "*>"):
			return pattern{}, fmt.Errorf("subject %q has a wildcard inside the token %q, where NATS takes it literally", text, token)
		case strings.IndexFunc(token, blankOrControl) >= 0:
			return pattern{}, fmt.Errorf("subject %q has white space or a control character", text)
		}
	}
	return p, nil
}

func blankOrControl(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

// matches says whether the pattern covers a subject, given as its tokens.
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

// covers says whether every subject of q is one of p too.
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

// meets says whether a subject exists that both patterns cover.
func (p *pattern) meets(q *pattern) bool {
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
