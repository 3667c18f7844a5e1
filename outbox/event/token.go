package event

import "strings"

const hexDigits = "0123456789ABCDEF"

// Token encodes any text as one token of a subject: each byte other than A-Z a-z 0-9 _ - becomes %XX, and the empty
// text becomes "%". Different texts have different tokens; DecodeToken is the inverse. The function outbox.token does
// the same in SQL, for capture triggers.
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

// DecodeToken returns the text that Token encoded. A token that Token cannot have made comes back unchanged; so does
// "%N", the token of NULL in the subjects of capture triggers.
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
