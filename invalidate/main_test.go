package invalidate_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // it tells of every dial that fails while a test has Redis stopped
	devtest.Main(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
