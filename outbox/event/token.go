package event

import "strings"

const hexDigits = "0123456789ABCDEF"

// Token makes one subject token of any text: what is not A-Z a-z 0-9 _ - becomes %XX of its UTF-8 bytes
// and the empty string becomes "%". No two texts share a token; DecodeToken is the inverse. The capture
// triggers of Attach do the same in SQL (outbox.token).
func Token(value string) string {
	if value == "" {
		return "%"
	}
	if strings.IndexFunc(value, notInHeaderName) < 0 {
		return value
	}
	var b strings.Builder
	for i := range len(value) {
		if c := value[i]; notInHeaderName(rune(c)) {
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// DecodeToken returns the text that Token made a token of. A token that Token never makes, and the NULL of
// a capture trigger ("%N"), comes back as it is.
func DecodeToken(token string) string {
	if token == "%" {
		return ""
	}
	if !strings.Contains(token, "%") {
		return token
	}
	out := make([]byte, 0, len(token))
	for i := 0; i < len(token); i++ {
		if token[i] != '%' {
			out = append(out, token[i])
			continue
		}
		if i+2 >= len(token) {
			return token
		}
		hi, lo := strings.IndexByte(hexDigits, token[i+1]), strings.IndexByte(hexDigits, token[i+2])
		if hi < 0 || lo < 0 {
			return token
		}
		out = append(out, byte(hi<<4|lo))
		i += 2
	}
	return string(out)
}
