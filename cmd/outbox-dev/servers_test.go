package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// The command servers writes the URLs of running servers, and removes the file in the end.
func TestServers(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, t.Output()) }()
	devtest.Eventually(t, patience, envFile+" is written", func() error { _, err := os.Stat(envFile); return err })
	env, err := os.ReadFile(envFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"export DATABASE_URL='postgres://", "export NATS_URL='nats://", "export REDIS_URL='redis://"} {
		if !strings.Contains(string(env), want) {
			t.Errorf("no %q in\n%s", want, env)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(envFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", envFile, err)
	}
}
