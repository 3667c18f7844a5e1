package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// closeTimeout bounds the removal of what the demo created on given servers.
const closeTimeout = 20 * time.Second

// close removes everything that the demo created on given servers, and stops and removes the servers that it started.
func (e *environment) close() error {
	var err error
	if e.given {
		err = e.remove()
	}
	return errors.Join(err, e.closeServers())
}

func (e *environment) remove() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, stream := range []string{e.stream, e.stream + "_DEAD"} {
		if err := e.js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			errs = append(errs, fmt.Errorf("delete stream %s: %w", stream, err))
		}
	}
	for _, schema := range []string{e.home, e.schema} {
		_, err := e.pool.Exec(ctx, "SET client_min_messages = warning; DROP SCHEMA IF EXISTS "+pgx.Identifier{schema}.Sanitize()+" CASCADE", pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			errs = append(errs, fmt.Errorf("drop schema %s: %w", schema, err))
		}
	}
	err := e.eachKey(ctx, func(keys []string) error {
		return e.rdb.Unlink(ctx, keys...).Err()
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("remove keys %s*: %w", e.prefix, err))
	}
	return errors.Join(errs...)
}

// closeServers closes whatever openEnvironment has opened so far.
func (e *environment) closeServers() error {
	var errs []error
	if e.conn != nil {
		e.conn.Close()
	}
	if e.rdb != nil {
		errs = append(errs, e.rdb.Close())
	}
	if e.pool != nil {
		e.pool.Close()
	}
	if e.redis != nil {
		errs = append(errs, e.redis.Close())
	}
	if e.nats != nil {
		errs = append(errs, e.nats.Close())
	}
	if e.postgres != nil {
		errs = append(errs, e.postgres.Close())
	}
	return errors.Join(errs...)
}
