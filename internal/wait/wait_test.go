package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func TestForWaitsTheWholeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		if err := wait.For(t.Context(), time.Second); err != nil || time.Since(start) != time.Second {
			t.Errorf("For(1s) = %v after %v; want nil after 1s", err, time.Since(start))
		}
	})
}

func TestForEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := wait.For(ctx, time.Minute); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("For(1m) = %v after %v; want a deadline error after 1s", err, time.Since(start))
		}
		if err := wait.For(ctx, 0); err == nil {
			t.Error("For(0) with an ended context = nil; want its error")
		}
	})
}
