package rules_test

import (
	"os"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
)

// The rules in docs/rules.md are valid, and its examples hold for them.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/rules.md")
	fatal(t, err)
	var set *rules.Set
	checked := 0
	for part := range strings.SplitSeq(string(text), "```yaml\n") {
		block, _, ok := strings.Cut(part, "```")
		switch {
		case ok && strings.HasPrefix(block, "rules:"):
			set = parse(t, block)
		case ok && strings.HasPrefix(block, "examples:"):
			list, err := rules.ParseExamples("examples", []byte(block))
			fatal(t, err)
			for i := range list {
				checked++
				if d := set.Check(&list[i]); !d.Holds() {
					t.Errorf("%s: %+v", list[i].Name, d)
				}
			}
		}
	}
	same(t, "examples", checked, 3)
}
