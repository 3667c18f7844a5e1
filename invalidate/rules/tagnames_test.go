package rules_test

import "testing"

func TestTagNames(t *testing.T) {
	t.Parallel()
	set := parse(t, `
rules:
  - {subject: users.*.updated, tags: ["group:users", "team:${payload.team}", "group:users"], prefix: ["", "My[App]:"]}
  - {subject: orders.>, tags: ["odd*name:$1"], keys: ["k"]}
`)
	names, patterns := set.TagNames()
	same(t, "names", names, "[My[App]:group:users group:users]")
	same(t, "patterns", patterns, `[My\[App\]:team:* odd\*name:* team:*]`)
}
