package wait_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

func TestUntilChecksAtOnceAndThenPeriodically(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, checks := time.Now(), 0
		err := wait.Until(t.Context(), time.Second, func() (bool, error) { checks++; return checks == 3, nil })
		if err != nil || checks != 3 || time.Since(start) != 2*time.Second {
			t.Errorf("Until = %v after %d checks in %v; want nil after 3 checks in 2s", err, checks, time.Since(start))
		}
	})
}

func TestUntilReturnsTheErrorOfACheck(t *testing.T) {
	broken := errors.New("broken")
	if err := wait.Until(t.Context(), time.Hour, func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("Until = %v; want the error of the check", err)
	}
}

func TestUntilReturnsTheCauseOfItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := errors.New("too late")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 90*time.Second, late)
		defer cancel()
		if err := wait.Until(ctx, time.Minute, func() (bool, error) { return false, nil }); !errors.Is(err, late) {
			t.Errorf("Until = %v; want the cause of its context", err)
		}
		if err := wait.Until(ctx, time.Minute, func() (bool, error) { return false, ctx.Err() }); !errors.Is(err, late) {
			t.Errorf("Until with an ended context = %v; want its cause", err)
		}
	})
}
