package devstack

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// errNoStandby is returned by the methods of a standby for any other server.
var errNoStandby = errors.New("this server was not made by Standby")

// Standby copies the running server with pg_basebackup and starts the copy as a hot
// standby, with the same configuration, on a port and folder of its own. It returns
// when the standby streams from p and answers queries. The context bounds that (60 s
// at most). The caller must Close it. p keeps 1 GB of its write-ahead log from then
// on, so that a standby that was stopped finds what it missed.
//
// Replication is asynchronous unless p's synchronous_standby_names says otherwise.
// A standby can have standbys. It returns [ErrNotOurs] if p was given by URL. It
// does not work with tablespaces: the two servers would share them.
func (p *Postgres) Standby(ctx context.Context) (*Postgres, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	standby, err := p.startStandby(ctx)
	if err != nil {
		return nil, fmt.Errorf("start standby of postgres: %w", err)
	}
	return standby, nil
}

func (p *Postgres) startStandby(ctx context.Context) (*Postgres, error) {
	if p.proc == nil {
		return nil, ErrNotOurs
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
	err = standby.awaitTrue(ctx, "streaming", "select exists (select from pg_stat_wal_receiver where status = 'streaming')")
	if err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// CatchUp waits until a standby has replayed everything that its primary had
// committed when CatchUp was called. The context bounds the wait (60 s at most). It
// needs both servers, and a primary that is none's standby.
func (p *Postgres) CatchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if p.primary == nil {
		return fmt.Errorf("catch up with primary: %w", errNoStandby)
	}
	var flushed string
	err := p.primary.queryRow(ctx, "select pg_current_wal_flush_lsn()::text", &flushed)
	if err == nil {
		err = p.awaitTrue(ctx, "replayed "+flushed, "select pg_last_wal_replay_lsn() >= '"+flushed+"'::pg_lsn")
	}
	if err != nil {
		return fmt.Errorf("catch up with primary: %w", err)
	}
	return nil
}

// Detach cuts a standby off from its primary, which does not notice: the primary
// goes on, and what it commits from now on will be lost by a [Postgres.Promote].
// (CatchUp before Detach says what will not.) Detach restarts the standby without a
// primary_conninfo, so its sessions break off; a reload would keep them, but a
// receiver that was just starting could still take something in. The standby answers
// queries when Detach returns, and stays detached when it is started again. The
// context bounds the restart (60 s at most).
func (p *Postgres) Detach(ctx context.Context) error {
	if p.primary == nil {
		return fmt.Errorf("detach standby: %w", errNoStandby)
	}
	if err := p.Stop(); err != nil {
		return fmt.Errorf("detach standby: %w", err)
	}
	p.detached.Store(true)
	if err := p.Start(ctx); err != nil {
		return fmt.Errorf("detach standby: %w", err)
	}
	return nil
}

// Promote makes a standby take writes, on a new timeline, and returns when it does.
// Its old primary is left as it is: stop or kill it first, or there are two. The
// context bounds the wait (60 s at most). It is an error if the server is no standby
// or has been promoted.
func (p *Postgres) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var promoted bool
	promote := "select pg_promote(true, " + strconv.Itoa(int(startTimeout.Seconds())) + ")"
	err := p.queryRow(ctx, promote, &promoted)
	if err == nil && !promoted {
		err = errors.New("it did not end recovery in time")
	}
	if err == nil {
		err = p.awaitTrue(ctx, "takes writes", "select not pg_is_in_recovery()")
	}
	if err != nil {
		return fmt.Errorf("promote standby: %w", err)
	}
	return nil
}

// awaitTrue waits until a query gives true. The text says what is awaited.
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

// queryRow reads the one value of a query on a connection of its own.
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
