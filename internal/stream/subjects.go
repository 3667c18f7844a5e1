package stream

import "strings"

// Covered reports whether one of a stream's subjects includes everything that a subject or pattern matches.
func Covered(patterns []string, subject string) bool {
	for _, p := range patterns {
		if covers(p, subject) {
			return true
		}
	}
	return false
}

// covers compares token by token. It runs for every event, so it allocates nothing.
func covers(pattern, subject string) bool {
	for {
		want, pattern2, moreWanted := strings.Cut(pattern, ".")
		if want == ">" {
			return true
		}
		token, subject2, more := strings.Cut(subject, ".")
		if token == ">" || want != "*" && want != token || more != moreWanted {
			return false
		}
		if !more {
			return true
		}
		pattern, subject = pattern2, subject2
	}
}
