package main

import "regexp"

var (
	// Everything from the colon behind the user to the last @ before white space: a password may hold any of
	// / ? # , and even @ by mistake.
	urlPassword = regexp.MustCompile(`(://[^:@/\s]*):[^\s]*@`)
	// A NATS URL with a user and no password holds a token.
	urlToken = regexp.MustCompile(`((?:nats|tls|ws|wss)://)[^:@/\s]+@`)
	// password=…, in a query and in a keyword/value string, quoted or not.
	namedSecret = regexp.MustCompile(`(?i)\b([a-z_-]*(?:password|passwd|passphrase|token|secret))(\s*=\s*)('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&'"]+)`)
)

// redact hides what may be a password or a token in a URL, in a connection string or in a text that quotes one. It
// hides too much rather than too little.
func redact(text string) string {
	text = urlPassword.ReplaceAllString(text, "${1}:xxxxx@")
	text = urlToken.ReplaceAllString(text, "${1}xxxxx@")
	return namedSecret.ReplaceAllString(text, "${1}${2}xxxxx")
}
