package dead_test

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
