package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// Everything from the colon behind the user to the last @ before white space: a password may hold any of
	// / ? # , and even @ by mistake.
	urlPassword = regexp.MustCompile(`(://[^:@/\s]*):[^\s]*@`)
	// A NATS URL with a user and no password holds a token.
	urlToken = regexp.MustCompile(`((?:nats|tls|ws|wss)://)[^:@/\s]+@`)
	// password=…, in a query and in a keyword/value string, quoted or not.
	namedSecret = regexp.MustCompile(`(?i)\b([a-z_-]*(?:password|passwd|passphrase|token|secret))(\s*=\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&'"]+)`)
)

// redact hides what may be a password or a token in a URL, in a connection string or in a text that quotes one, and
// what was read from the file of a secret. It hides too much rather than too little.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "${1}:xxxxx@")
	text = urlToken.ReplaceAllString(text, "${1}xxxxx@")
	text = namedSecret.ReplaceAllString(text, "${1}${2}xxxxx")
	return hidden.replace(text)
}

// redactURL hides the same in a setting that is one URL, or should be: where it has not the form of one, nobody can say
// which part is the password.
func redactURL(text string) string {
	switch {
	case strings.ContainsFunc(text, unicode.IsControl):
		return "xxxxx"
	case strings.Contains(text, "://"):
		if strings.ContainsFunc(text, unicode.IsSpace) {
			return "xxxxx"
		}
	case strings.Contains(text, "="):
		if _, err := pgconn.ParseConfig(text); err != nil {
			return "xxxxx"
		}
	case strings.Contains(text, "@"):
		return "xxxxx" + text[strings.LastIndexByte(text, '@'):]
	}
	return redact(text)
}

// variables in a text of the file of settings
var variables = regexp.MustCompile(`\$\{[^}]*\}`)

// holdsSecret says that a text of the file holds a password or a token itself, and not only the name of a variable.
func holdsSecret(text string) bool {
	for item := range strings.SplitSeq(variables.ReplaceAllString(text, ""), ",") {
		if user, password, ok := strings.Cut(userOf(item), ":"); ok && password != "" || !ok && user != "" && urlToken.MatchString(item) || namedSecret.MatchString(item) {
			return true
		}
	}
	return false
}

// userOf is what stands between :// and the last @.
func userOf(item string) string {
	_, rest, _ := strings.Cut(item, "://")
	i := strings.LastIndexByte(rest, '@')
	return rest[:max(i, 0)]
}

// shortSecret is the length under which a secret is not looked for in other texts: it would be found in any of them.
const shortSecret = 4

// hidden are the secrets that were read from files.
var hidden secrets

type secrets struct {
	mu  sync.RWMutex
	all []string
}

// hide makes redact replace a secret wherever it stands.
func hide(secret string) { hidden.add(secret) }

func (s *secrets) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) >= shortSecret && !slices.Contains(s.all, secret) {
		s.all = append(s.all, secret)
		slices.SortFunc(s.all, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // one may be part of another
	}
}

func (s *secrets) replace(text string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, secret := range s.all {
		text = strings.ReplaceAll(text, secret, "xxxxx")
	}
	return text
}
