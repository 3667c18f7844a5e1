package devstack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// errNotStandby is returned by the methods of a standby for any other server.
var errNotStandby = errors.New("this server was not created by Standby")

// Standby copies the running server with pg_basebackup and starts the copy as a hot standby, with the same
// configuration, its own port and its own folder. It returns when the standby streams from p and answers queries. The
// context bounds that (60 s at most). The caller must Close the standby. From then on p keeps 1 GB of its write-ahead
// log, so that a standby that was stopped can catch up.
//
// Replication is asynchronous unless p's synchronous_standby_names configures it otherwise. A standby can have
// standbys. Standby returns [ErrExternal] if p is an external server. It does not support tablespaces, because both
// servers would use the same folder.
func (p *Postgres) Standby(ctx context.Context) (standby *Postgres, err error) {
	err = bounded(ctx, "start standby of postgres", func(ctx context.Context) (err error) {
		standby, err = p.startStandby(ctx)
		return err
	})
	return standby, err
}

func (p *Postgres) startStandby(ctx context.Context) (*Postgres, error) {
	if p.proc == nil {
		return nil, ErrExternal
	}
	for _, statement := range []string{"alter system set wal_keep_size = '1GB'", "select pg_reload_conf()"} {
		if err := p.exec(ctx, statement); err != nil {
			return nil, err
		}
	}
	standby, err := launchPostgres(ctx, &Postgres{cfg: p.cfg, primary: p}, func(standby *Postgres) error {
		from := fmt.Sprintf("host=127.0.0.1 port=%d user=postgres sslmode=disable", p.Port())
		return standby.proc.run(ctx, filepath.Join(standby.binDir, "pg_basebackup"), "-d", from, "-D", standby.DataDir(),
			"--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")
	})
	if err != nil {
		return nil, err
	}
	err = standby.awaitTrue(ctx, "the standby to stream", "select exists (select from pg_stat_wal_receiver where status = 'streaming')")
	if err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// CatchUp waits until a standby has replayed everything that its primary had committed when CatchUp was called. The
// context bounds the wait (60 s at most). Both servers must be running, and the primary must not be a standby itself.
func (p *Postgres) CatchUp(ctx context.Context) error {
	return bounded(ctx, "catch up with primary", func(ctx context.Context) error {
		if p.primary == nil {
			return errNotStandby
		}
		var flushed string
		if err := p.primary.queryRow(ctx, "select pg_current_wal_flush_lsn()::text", &flushed); err != nil {
			return err
		}
		return p.awaitTrue(ctx, "the replay of "+flushed, "select pg_last_wal_replay_lsn() >= '"+flushed+"'::pg_lsn")
	})
}

// Detach disconnects a standby from its primary. The primary continues to run, and a later [Postgres.Promote] loses
// what it commits from now on. To keep earlier commits, call CatchUp before Detach. Detach restarts the standby without
// a primary_conninfo, which drops its sessions; a reload would keep them, but a WAL receiver that was just starting
// could then still receive data. The standby answers queries when Detach returns, and stays detached after Stop and
// Start. The context bounds the restart (60 s at most).
func (p *Postgres) Detach(ctx context.Context) error {
	return bounded(ctx, "detach standby", func(ctx context.Context) error {
		if p.primary == nil {
			return errNotStandby
		}
		if err := p.Stop(); err != nil {
			return err
		}
		p.detached.Store(true)
		return p.Start(ctx)
	})
}

// Promote makes a standby accept writes, on a new timeline, and returns when it does. It does not stop the old primary:
// stop or kill that one first, or both accept writes. The context bounds the wait (60 s at most). Promote returns an
// error if the server is not a standby, or has already been promoted.
func (p *Postgres) Promote(ctx context.Context) error {
	return bounded(ctx, "promote standby", func(ctx context.Context) error {
		var promoted bool
		promote := "select pg_promote(true, " + strconv.Itoa(int(startTimeout.Seconds())) + ")"
		if err := p.queryRow(ctx, promote, &promoted); err != nil {
			return err
		}
		if !promoted {
			return fmt.Errorf("recovery did not end within %s", startTimeout)
		}
		return p.awaitTrue(ctx, "the end of recovery", "select not pg_is_in_recovery()")
	})
}

// awaitTrue waits until a query returns true. The text names what is awaited.
func (p *Postgres) awaitTrue(ctx context.Context, what, query string) error {
	return await(ctx, what, func(ctx context.Context) error {
		var done bool
		err := p.queryRow(ctx, query, &done)
		if err == nil && !done {
			err = errNotYet
		}
		return err
	})
}

// queryRow scans the only value of a query. It uses a new connection.
func (p *Postgres) queryRow(ctx context.Context, query string, value any) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return conn.QueryRow(ctx, query).Scan(value)
}

func (p *Postgres) exec(ctx context.Context, statement string) error {
	conn, err := pgx.Connect(ctx, p.URL())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
