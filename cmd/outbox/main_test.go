package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/clitest"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

func TestHelpIsComplete(t *testing.T) { clitest.HelpIsComplete(t, newApp()) }

// Commands of outbox-dev are named, not guessed at.
func TestCommandsOfOutboxDev(t *testing.T) {
	for _, command := range []string{"demo", "servers"} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"outbox", command}, nil, &stderr, &stderr)
		if code != exit.Usage || !strings.Contains(stderr.String(), "run: outbox-dev "+command) {
			t.Errorf("outbox %s: exit code %d: %s", command, code, &stderr)
		}
	}
}
