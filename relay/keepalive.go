package relay

import (
	"context"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// keepAlive runs do, which must not use the session, and meanwhile pings the session every maxIdle / 2 so that PostgreSQL does
// not end it. A lost session is a sessionError.
func (r *Relay) keepAlive(ctx context.Context, s *table.Session, do func() error) error {
	done := make(chan struct{})
	pinged := make(chan error, 1)
	go func() {
		tick := time.NewTicker(maxIdle / 2)
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
