// Package redact removes passwords and tokens from text before a person or a log sees it.
//
// It works on text alone, so that it also covers what libraries quote in their errors. It prefers to remove too much.
// A secret that was read from a file has no form that text could show: Hide registers its value, and from then on every
// function of this package removes it.
//
// All functions are safe for concurrent use.
package redact

import (
	"cmp"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/jackc/pgx/v5/pgconn"
)

var (
	// Everything from the colon after the user name to the last @ before white space: a password may contain / ? # ,
	// and, unescaped by mistake, even @.
	urlPassword = regexp.MustCompile(`(://[^:@/\s]*):[^\s]*@`)
	// In a NATS URL, a user name without a password is a token.
	urlToken = regexp.MustCompile(`((?:nats|tls|ws|wss)://)[^:@/\s]+@`)
	// password=… in a query or in a keyword/value connection string, quoted or not.
	namedSecret = regexp.MustCompile(`(?i)\b([a-z_-]*(?:password|passwd|passphrase|token|secret))(\s*=\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&'"]+)`)
)

// Text replaces with xxxxx whatever may be a password or a token: in a URL, in a connection string, in a message that
// quotes either, and every value that Hide registered.
func Text(text string) string {
	text = urlPassword.ReplaceAllString(text, "${1}:xxxxx@")
	text = urlToken.ReplaceAllString(text, "${1}xxxxx@")
	text = namedSecret.ReplaceAllString(text, "${1}${2}xxxxx")
	return registered.replace(text)
}

// URL is Text for a setting whose value should be a URL or a connection string. It replaces a malformed value as a
// whole, because nothing shows which part of it is the password.
func URL(text string) string {
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
	return Text(text)
}

// variables are references such as ${NAME} in the settings file.
var variables = regexp.MustCompile(`\$\{[^}]*\}`)

// HoldsSecret reports whether a value of the settings file contains a password or a token itself, rather than only a
// reference such as ${NAME}.
func HoldsSecret(text string) bool {
	for item := range strings.SplitSeq(variables.ReplaceAllString(text, ""), ",") {
		if user, password, ok := strings.Cut(userOf(item), ":"); ok && password != "" || !ok && user != "" && urlToken.MatchString(item) || namedSecret.MatchString(item) {
			return true
		}
	}
	return false
}

// userOf returns the part of a URL between :// and the last @.
func userOf(item string) string {
	_, rest, _ := strings.Cut(item, "://")
	i := strings.LastIndexByte(rest, '@')
	return rest[:max(i, 0)]
}

// shortSecret is the length in bytes below which a secret is not searched for: it would match almost any text.
const shortSecret = 4

// registered holds the secrets that were read from files. It is process-wide, since any error or log line may quote
// one.
var registered secrets

type secrets struct {
	mu  sync.RWMutex
	all []string
}

// Hide registers a secret, which Text, URL and Attr remove from then on. It ignores secrets of fewer than four bytes.
func Hide(secret string) { registered.add(secret) }

func (s *secrets) add(secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(secret) >= shortSecret && !slices.Contains(s.all, secret) {
		s.all = append(s.all, secret)
		slices.SortFunc(s.all, func(a, b string) int { return cmp.Compare(len(b), len(a)) }) // the longest first: one may contain another
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

// Attr is a slog.HandlerOptions.ReplaceAttr that applies Text to every string and every error that is logged.
func Attr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(Text(v))
	case error:
		a.Value = slog.StringValue(Text(v.Error()))
	}
	return a
}
