package wait

import (
	"context"
	"time"
)

// Until calls check at once and then every so often, until check reports true or returns an error. If ctx ends first, it
// returns context.Cause(ctx); an error that check returned because ctx ended is dropped in its favor.
func Until(ctx context.Context, every time.Duration, check func() (bool, error)) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done, err := check()
		switch {
		case done:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
