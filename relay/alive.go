package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// alive does something that leaves the session alone, and uses that meanwhile, so that PostgreSQL does not end it.
func (r *Relay) alive(ctx context.Context, s *table.Session, do func() error) error {
	done := make(chan struct{})
	pinged := make(chan error, 1)
	go func() {
		tick := time.NewTicker(longestRest / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if err := r.ping(ctx, s); err != nil {
					pinged <- err
					return
				}
			case <-done:
				pinged <- nil
				return
			}
		}
	}()
	err := do()
	close(done)
	if lost := <-pinged; lost != nil {
		return &sessionError{lost}
	}
	return err
}

func (r *Relay) ping(ctx context.Context, s *table.Session) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return s.Ping(ctx)
}
