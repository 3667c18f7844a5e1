package faults

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// wholeStream bounds one reading of the whole stream. The largest streams have two million messages.
const wholeStream = 5 * time.Minute

// awaitIdle waits until every event is published, and, if there is an invalidator, consumed.
func (s *scenario) awaitIdle() {
	s.t.Helper()
	s.eventually(2*time.Minute, "every event published", s.allPublished)
	if !s.cached {
		return
	}
	s.eventually(2*time.Minute, "every event consumed", func(ctx context.Context) error {
		c, err := s.js.Consumer(ctx, s.stream, "invalidate-now")
		if err != nil {
			return err
		}
		if i := c.CachedInfo(); i.NumPending+uint64(i.NumAckPending) > 0 {
			return fmt.Errorf("%d pending, %d not acknowledged", i.NumPending, i.NumAckPending)
		}
		return nil
	})
}

// allPublished returns an error if events are pending.
func (s *scenario) allPublished(ctx context.Context) error {
	status, err := s.table.Status(ctx, s.pool, s.stream)
	if err == nil && status.Pending != 0 {
		err = fmt.Errorf("%d pending, %d planned", status.Pending, status.Planned)
	}
	return err
}

// verify waits until the scenario is idle. It then compares the stream with the table, checks the order of the versions
// of each account, and compares every cached key with its row.
func (s *scenario) verify() verify.Verdict {
	s.t.Helper()
	s.awaitIdle()
	stream := s.verifier()
	var v verify.Verdict
	s.retry(wholeStream, time.Minute, "stream verified", func(ctx context.Context) (err error) {
		v, err = stream.Verify(ctx)
		return err
	})
	broken := v
	if s.others {
		broken.Foreign, broken.Reordered = 0, 0
	}
	if s.failedOver {
		broken.Misplaced = 0
	}
	if err := broken.Err(); err != nil {
		s.t.Error(err)
	}
	if v.Again == 0 && !s.others { // events that were published again are out of order
		s.checkVersions()
	}
	s.eventually(time.Minute, "cached keys compared", func(ctx context.Context) (err error) {
		s.row.stale, err = s.countStale(ctx)
		return err
	})
	if s.row.stale > 0 {
		s.t.Errorf("got %d stale keys, want 0", s.row.stale)
	}
	s.row.verdict = v
	return v
}

func (s *scenario) verifier() verify.Stream {
	return verify.Stream{Table: s.table, Pool: s.pool, Conn: s.nc, Name: s.stream}
}

// checkVersions requires that the versions of each account rise by one from event to event. It ignores events that the
// database does not have.
func (s *scenario) checkVersions() {
	s.t.Helper()
	var gaps []string
	s.retry(wholeStream, time.Minute, "versions read", func(ctx context.Context) (err error) {
		gaps, err = s.versionGaps(ctx)
		return err
	})
	for _, gap := range gaps {
		s.t.Error(gap)
	}
}

func (s *scenario) versionGaps(ctx context.Context) (gaps []string, err error) {
	rows, err := s.pool.Query(ctx, s.table.SQL("SELECT event_id::text FROM outbox.event"))
	if err != nil {
		return nil, err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, err
	}
	ours := make(map[string]bool, len(ids))
	for _, id := range ids {
		ours[id] = true
	}
	last := make(map[string]string)
	stream := s.verifier()
	err = stream.Read(ctx, func(msg jetstream.Msg) error {
		e, err := event.Parse(msg.Subject(), msg.Headers(), nil)
		if err != nil || e.Headers["Version"] == "" || !ours[e.ID.String()] {
			return nil
		}
		var before, now int
		_, _ = fmt.Sscan(last[e.Key], &before) // 0 before the first event
		if _, err := fmt.Sscan(e.Headers["Version"], &now); err != nil {
			return err
		}
		if now != before+1 {
			gaps = append(gaps, fmt.Sprintf("account %s: got version %d after %d, want %d", e.Key, now, before, before+1))
		}
		last[e.Key] = e.Headers["Version"]
		return nil
	})
	return gaps, err
}

// countStale returns the number of cached keys whose value differs from the row.
func (s *scenario) countStale(ctx context.Context) (n int, err error) {
	if !s.cached {
		return 0, nil
	}
	rows, err := s.pool.Query(ctx, s.table.SQL("SELECT key::text, version::text FROM outbox.account"))
	if err != nil {
		return 0, err
	}
	var key, version string
	_, err = pgx.ForEachRow(rows, []any{&key, &version}, func() error {
		cached, err := s.rdb.Get(ctx, s.prefix+key).Result()
		if errors.Is(err, redis.Nil) {
			return nil
		}
		if err == nil && cached != version {
			n++
		}
		return err
	})
	return n, err
}
