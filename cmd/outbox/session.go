package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// A session is one run of a verb: its flags, its settings, its connections, and where it prints. The verb must check
// its flags first, then connect to the servers that it needs. All connections are closed when it returns.
type session struct {
	c    *cli.Context
	set  *setting.Set
	json bool // -o json

	table *table.Table // set by dialPostgres and keepPostgres
	pool  *pgxpool.Pool
	nc    *nats.Conn // set by dialNATS and keepNATS
	js    jetstream.JetStream
	redis redis.UniversalClient // set by dialRedis and keepRedis

	opened []func() error // closed in reverse order
}

// A verb is the work of a command, once its settings are valid.
type verb func(ctx context.Context, s *session) error

// action makes the action of a command that has the flags of a section of the settings.
func action(section string, do verb) cli.ActionFunc {
	return func(c *cli.Context) (err error) {
		set, err := setting.Load(c, section)
		if err != nil {
			return err
		}
		s := &session{c: c, set: set, json: c.String("output") == "json"}
		defer func() {
			if closing := s.close(); closing != nil {
				err = errors.Join(err, closing)
			}
		}()
		return do(c.Context, s)
	}
}

func (s *session) close() error {
	var all []error
	for i := len(s.opened) - 1; i >= 0; i-- {
		all = append(all, s.opened[i]())
	}
	return errors.Join(all...)
}

// onClose calls what when the session ends.
func (s *session) onClose(what func()) {
	s.opened = append(s.opened, func() error { what(); return nil })
}

// openTable checks the setting schema.
func openTable(set *setting.Set) (*table.Table, error) {
	tbl, err := table.In(set.Text("schema"))
	if err != nil {
		return nil, exit.Usagef(nil, "%s: %w", set.Origin("schema").From, err)
	}
	return tbl, nil
}

// dialPostgres returns once the database answers; keepPostgres does not wait for it.
func (s *session) dialPostgres(ctx context.Context) error { return s.postgres(ctx, dial.Postgres) }
func (s *session) keepPostgres(ctx context.Context) error { return s.postgres(ctx, dial.Pool) }

func (s *session) postgres(ctx context.Context, open func(context.Context, *setting.Set, string) (*pgxpool.Pool, error)) (err error) {
	if s.table, err = openTable(s.set); err != nil {
		return err
	}
	if s.pool, err = open(ctx, s.set, s.c.Command.HelpName); err != nil {
		return err
	}
	s.onClose(s.pool.Close)
	return nil
}

// dialNATS returns once NATS answers. keepNATS does not wait for it and reconnects; name is that of the connection.
func (s *session) dialNATS(ctx context.Context) (err error) {
	if s.nc, s.js, err = dial.NATS(ctx, s.set, s.c.Command.HelpName); err == nil {
		s.onClose(s.nc.Close)
	}
	return err
}

func (s *session) keepNATS(name string) (err error) {
	if s.nc, s.js, err = dial.KeepNATS(s.set, name, s.set.Log); err == nil {
		s.onClose(s.nc.Close)
	}
	return err
}

// dialRedis returns once Redis answers; keepRedis does not wait for it.
func (s *session) dialRedis(ctx context.Context) error {
	if err := s.keepRedis(); err != nil {
		return err
	}
	return dial.Ping(ctx, s.set, s.redis)
}

func (s *session) keepRedis() (err error) {
	if s.redis, err = dial.Redis(s.set, s.set.Log); err == nil {
		s.opened = append(s.opened, s.redis.Close)
	}
	return err
}

// blameNATS marks an error as that of NATS if its connection was lost.
func (s *session) blameNATS(err error) error {
	if err != nil && s.nc != nil && !s.nc.IsConnected() && !errors.Is(err, context.Canceled) {
		return exit.Unreached(exit.NATS, err)
	}
	return err
}

// print prints a result to standard output: v with -o json, else what text writes.
func (s *session) print(v any, text func(w io.Writer) error) error {
	if s.json {
		return term.JSON(s.c.App.Writer, v)
	}
	return text(s.c.App.Writer)
}

// printf prints to standard output.
func (s *session) printf(format string, args ...any) error {
	return printf(s.c.App.Writer, format, args...)
}

// notef prints a remark to standard error. It ignores write errors: a remark is not the result.
func (s *session) notef(format string, args ...any) {
	fmt.Fprintf(s.c.App.ErrWriter, format, args...) //nolint:errcheck // see above
}

func printf(w io.Writer, format string, args ...any) error {
	if _, err := fmt.Fprintf(w, format, args...); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
