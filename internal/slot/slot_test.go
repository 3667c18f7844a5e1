package slot

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestOf(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]int{
		"123456789": 0x31c3 % 16384, "foo": 12182, "{user1000}.following": Of("user1000"), "foo{}{bar}": Of("foo{}{bar}"),
		"foo{{bar}}zap": Of("{bar"), "foo{bar}{zap}": Of("bar"), "": 0,
	} {
		if got := Of(key); got != want {
			t.Errorf("%q is in slot %d, want %d", key, got, want)
		}
	}
}

// Every token lies in the slot of its key.
func TestTokenIsInTheSlotOfItsKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringOf(rapid.SampledFrom([]rune("ab:{}"))).Draw(t, "key")
		token, ok := Token(key)
		if ok && (Of(token) != Of(key) || token == key) {
			t.Fatalf("%q has token %q in slot %d, not %d", key, token, Of(token), Of(key))
		}
		if !ok && key != "" && !strings.Contains(key, "}") {
			t.Fatalf("%q has no token", key)
		}
	})
}

func TestToken(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{"user:42": "{user:42}:f", "{user:42}:profile": "{user:42}:profile:f", "a}b": "", "": "", "a{b": "{a{b}:f"} {
		if got, _ := Token(key); got != want {
			t.Errorf("token of %q is %q, want %q", key, got, want)
		}
	}
}
