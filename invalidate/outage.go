package invalidate

import (
	"context"
	"time"
)

// unlinkBatch deletes the keys of a batch and returns how many existed.
func (l *lane) unlinkBatch(ctx context.Context, b *batch) (deleted int, err error) {
	if len(b.checks) > 0 {
		err := l.insist(ctx, func() error {
			old, err := outdated(ctx, l.rdb, b.checks)
			if err == nil {
				l.stats.update(func(s *Lane) { s.Kept += int64(len(b.checks) - len(old)) })
				b.keys = append(b.keys, old...)
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	return l.unlink(ctx, b.keys)
}

// unlink deletes keys, waiting out every outage of Redis, and returns how many existed.
func (l *lane) unlink(ctx context.Context, keys []string) (deleted int, err error) {
	err = l.insist(ctx, func() error {
		done, n, err := unlink(ctx, l.rdb, keys)
		keys, deleted = keys[done:], deleted+n
		return err
	})
	return deleted, err
}

// insist tries again until Redis has answered. Meanwhile the feed fills up and makes no more requests, and nothing is
// given back to the server. It fails only when ctx ends before.
func (l *lane) insist(ctx context.Context, try func() error) error {
	err := try()
	if err == nil {
		return nil
	}
	began := time.Now()
	defer l.pause(-1)
	l.pause(+1)
	if ctx.Err() == nil {
		l.log.Warn("redis does not answer, pausing", "err", err)
	}
	retry := newBackoff(longestPause)
	for {
		l.stats.update(func(s *Lane) { s.RedisErrors++ })
		if wait(ctx, retry.NextBackOff()) != nil {
			return err
		}
		if err = try(); err == nil {
			l.log.Info("redis answers again, going on", "wait", time.Since(began))
			return nil
		}
	}
}

// pause counts who waits for Redis.
func (l *lane) pause(n int) {
	l.stats.update(func(s *Lane) {
		s.waiting += n
		s.Paused = s.waiting > 0
	})
}
