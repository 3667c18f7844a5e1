package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
)

// A load is commits of one event each, at a pace, by several clients. Event i has the key i.
type load struct {
	sql       string // parameters as those of insertOne
	subject   string // of event i is subject.(i mod 1000)
	from      int    // number of the first event
	committed []time.Time
}

// play commits n events, rate a second in all, or as fast as it goes with 0, and notes when each commit had returned.
func (p *load) play(ctx context.Context, l *lab, n, rate int) error {
	p.committed = make([]time.Time, n)
	payload := bytes.Repeat([]byte("x"), l.set.Payload)
	clients := max(l.set.Clients, 1)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		group.Go(func() error {
			conn, err := l.pool.Acquire(ctx)
			if err != nil {
				return fmt.Errorf("connect a writer: %w", err)
			}
			defer conn.Release()
			for i := c; i < n; i += clients {
				if rate > 0 {
					rest(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(rate))))
				}
				subject := p.subject + "." + strconv.Itoa((p.from+i)%1000)
				if _, err := conn.Exec(ctx, p.sql, uuid.New(), subject, strconv.Itoa(p.from+i), payload); err != nil {
					return fmt.Errorf("commit an event: %w", err)
				}
				p.committed[i] = time.Now()
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if took := time.Since(began); rate > 0 && took > time.Duration(float64(n)/float64(rate)*1.03*float64(time.Second))+50*time.Millisecond {
		l.note("the load fell behind its pace: %.0f commits/s instead of %d", float64(n)/took.Seconds(), rate)
	}
	return nil
}

// rest waits, or not longer than ctx.
func rest(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// delays are the times from each commit on, by event; those that the floor did not find are left out.
func delays(committed []time.Time, at func(i int) time.Time) []time.Duration {
	out := make([]time.Duration, 0, len(committed))
	for i, from := range committed {
		if then := at(i); !then.IsZero() {
			out = append(out, max(0, then.Sub(from))) // who committed may hear of it last
		}
	}
	return out
}
