package main

import (
	"context"
	"os"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// turn pauses or resumes the relay, and says what came of it.
func (w *watch) turn(ctx context.Context, what string) string {
	ctx, cancel := within(ctx)
	defer cancel()
	var err error
	targets, why, author := []string{table.PauseRelay}, "from outbox top", os.Getenv("USER")
	if what == "pause" {
		_, err = w.table.Pause(ctx, w.pool, targets, 0, why, author)
	} else {
		_, err = w.table.Resume(ctx, w.pool, targets, why, author)
	}
	if err != nil {
		return redact(err.Error())
	}
	return what + " noted: the relay sees it within a second or two"
}
