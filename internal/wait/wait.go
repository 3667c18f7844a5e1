// Package wait pauses a goroutine for a bounded time.
package wait

import (
	"context"
	"time"
)

// For waits for d, or until ctx ends. It returns nil if the whole time passed, and ctx.Err() otherwise. A d of zero
// or less does not wait.
func For(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
