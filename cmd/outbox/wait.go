package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/redis/go-redis/v9"
)

// await tries to reach a server once, and with --wait again and again while that does not answer or says that it is
// starting: a password that is wrong now will be wrong later. It says once what it waits for. All servers of a command share
// the time.
func (s settings) await(server string, try func() error) error {
	retry := backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(2*time.Second), backoff.WithMaxElapsedTime(0))
	for said := false; ; said = true {
		err := try()
		left := time.Until(s.patience)
		if err == nil || left <= 0 || !unavailable(err) {
			return err
		}
		if !said {
			s.log.Warn("waiting for a server", "server", server, "wait", left.Round(time.Millisecond).String(), "err", err)
		}
		timer := time.NewTimer(min(retry.NextBackOff(), left))
		select {
		case <-timer.C:
		case <-s.stop:
			timer.Stop()
			return errors.Join(err, context.Canceled)
		}
	}
}

// refusedByRedis tells an answer of Redis that stays the same from one of a server that is about to serve.
func refusedByRedis(err error) bool {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return false
	}
	for _, soon := range []string{"LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN "} {
		if strings.HasPrefix(reply.Error(), soon) {
			return false
		}
	}
	return true
}

// pingRedis waits for Redis as --wait says.
func (s settings) pingRedis(ctx context.Context, rdb redis.UniversalClient) error {
	return s.await(redisServer, func() error {
		if err := rdb.Ping(ctx).Err(); err != nil {
			return &serverError{redisServer, err}
		}
		return nil
	})
}
