package bench

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// A load is commits of one event each by several clients. The key of event i is i.
type load struct {
	sql       string      // takes the parameters of insertOne
	subject   string      // prefix: the subject of event i is subject.(i mod 1000)
	from      int         // number of the first event
	committed []time.Time // when the client had the answer to each commit; valid after run
}

// run commits n events at a total rate a second; rate 0 means as fast as possible.
func (p *load) run(ctx context.Context, s *session, n, rate int) error {
	p.committed = make([]time.Time, n)
	payload := bytes.Repeat([]byte("x"), s.set.Payload)
	clients := max(s.set.Clients, 1)
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for c := range clients {
		group.Go(func() error {
			conn, err := s.pool.Acquire(ctx)
			if err != nil {
				return fmt.Errorf("connect a writer: %w", err)
			}
			defer conn.Release()
			for i := c; i < n; i += clients {
				if rate > 0 {
					_ = wait.For(ctx, time.Until(began.Add(time.Duration(i)*time.Second/time.Duration(rate)))) // the commit checks ctx
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
		s.note("the load was slower than its rate: %.0f commits/s instead of %d", float64(n)/took.Seconds(), rate)
	}
	return nil
}

// delays returns the time from each commit to at. It leaves out events for which at returns the zero time.
func delays(committed []time.Time, at func(i int) time.Time) []time.Duration {
	out := make([]time.Duration, 0, len(committed))
	for i, from := range committed {
		if then := at(i); !then.IsZero() {
			out = append(out, max(0, then.Sub(from))) // the client may get the answer to its commit last
		}
	}
	return out
}

// keyNumber returns the number of an event, which is its key; -1 for another key.
func keyNumber(key string) int {
	i, err := strconv.Atoi(key)
	if err != nil {
		return -1
	}
	return i
}
