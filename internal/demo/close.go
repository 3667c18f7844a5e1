package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// closeTimeout bounds the removal of what is left on servers that were given.
const closeTimeout = 20 * time.Second

// close removes what is left on given servers, and stops and removes our own.
func (s *stage) close() error {
	var err error
	if s.given {
		err = s.remove()
	}
	return errors.Join(err, s.closeServers())
}

func (s *stage) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, stream := range []string{s.stream, s.stream + "_DEAD"} {
		if err := s.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("delete stream %s: %w", stream, err))
		}
	}
	for _, schema := range []string{s.home, s.schema} {
		_, err := s.pool.Exec(ctx, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			errs = append(errs, fmt.Errorf("drop schema %s: %w", schema, err))
		}
	}
	err := s.eachKey(ctx, func(keys []string) error {
		return s.rdb.Unlink(ctx, keys...).Err()
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("remove keys %s*: %w", s.prefix, err))
	}
	return errors.Join(errs...)
}

// closeServers may be called at any stage of openStage.
func (s *stage) closeServers() error {
	var errs []error
	if s.conn != nil {
		s.conn.Close()
	}
	if s.rdb != nil {
		errs = append(errs, s.rdb.Close())
	}
	if s.pool != nil {
		s.pool.Close()
	}
	if s.redis != nil {
		errs = append(errs, s.redis.Close())
	}
	if s.nats != nil {
		errs = append(errs, s.nats.Close())
	}
	if s.postgres != nil {
		errs = append(errs, s.postgres.Close())
	}
	return errors.Join(errs...)
}
