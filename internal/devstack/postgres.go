package devstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// Postgres is a Postgres server. Its methods are safe for concurrent use.
type Postgres struct {
	url    *url.URL
	binDir string   // "" if the server was given and no programs were found
	proc   *process // nil if the server was given
	cfg    PostgresConfig

	primary  *Postgres   // nil unless Standby made it
	detached atomic.Bool // starts without its primary; see Detach
}

// StartPostgres starts a server and returns when it accepts connections, or checks
// that the one given by URL does. The context bounds the start (60 s at most), not
// the life of the server. The caller must Close it. It returns [ErrMissing] if
// Postgres is not installed.
func StartPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	start := startPostgres
	if cfg.URL != "" {
		start = usePostgres
	}
	p, err := start(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start postgres: %w", err)
	}
	return p, nil
}

func usePostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	given, err := url.Parse(cfg.URL)
	if err != nil || (given.Scheme != "postgres" && given.Scheme != "postgresql") {
		return nil, errors.New("the given URL is not of the form postgres://user@host:port/database")
	}
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	binDir, _ := findPostgres() // Bin says so if it is missed
	say(cfg.Log, "postgres: using the given server %s", given.Redacted())
	return &Postgres{url: given, binDir: binDir, cfg: cfg}, nil
}

// startPostgres starts a server on an empty database.
func startPostgres(ctx context.Context, cfg PostgresConfig) (*Postgres, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	return launchPostgres(ctx, &Postgres{cfg: cfg}, func(p *Postgres) error {
		err := p.proc.run(ctx, filepath.Join(p.binDir, "initdb"), "-D", p.DataDir(), "-A", "trust", "-U", "postgres",
			"--no-sync", "-E", "UTF8", "--locale=C")
		if err != nil {
			return err
		}
		return p.cfg.writeAccess(p.DataDir(), p.proc.user)
	})
}

// launchPostgres starts a server in a folder of its own, on the data that fill
// puts there. Nothing is left if it returns an error.
func launchPostgres(ctx context.Context, p *Postgres, fill func(*Postgres) error) (_ *Postgres, err error) {
	if p.binDir, err = findPostgres(); err != nil {
		return nil, err
	}
	account, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(p.cfg.Dir, "postgres", account)
	if err != nil {
		return nil, err
	}
	p.proc = &process{
		name:  "postgres",
		dir:   dir,
		user:  account,
		abort: syscall.SIGQUIT, // SIGKILL would orphan the backends and leave shared memory
		argv:  p.argv,
		ready: func(ctx context.Context, port, _ int) error {
			answered, err := dataDirectory(ctx, postgresURL(port).String())
			if err == nil && answered != p.DataDir() {
				err = fmt.Errorf("port %d is taken by the server of %s", port, answered)
			}
			return err
		},
	}
	if err := p.proc.open(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.proc.close())
		}
	}()
	if err := fill(p); err != nil {
		return nil, err
	}
	if err := p.proc.startAnywhere(ctx); err != nil {
		return nil, err
	}
	p.url = postgresURL(p.proc.port)
	uid := os.Geteuid()
	if account != nil {
		uid = int(account.Uid)
	}
	say(p.cfg.Log, "postgres: using %s as uid %d, %s, data %s", p.binDir, uid, address(p.proc.port), p.DataDir())
	return p, nil
}

// argv returns the command line of the server for a port.
func (p *Postgres) argv(port int) []string {
	argv := append(p.cfg.limit(), filepath.Join(p.binDir, "postgres"), "-D", p.DataDir())
	argv = append(argv, p.cfg.settings(port)...)
	if p.detached.Load() {
		argv = append(argv, "-c", "primary_conninfo=")
	}
	return argv
}

func postgresURL(port int) *url.URL {
	return &url.URL{Scheme: "postgres", User: url.User("postgres"), Host: address(port),
		Path: "/postgres", RawQuery: "sslmode=disable"}
}

// dataDirectory asks the server at connString where its data is: the one thing
// that tells our server from another on the same port.
func dataDirectory(ctx context.Context, connString string) (string, error) {
	conn, err := pgx.Connect(ctx, connString)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var dir string
	err = conn.QueryRow(ctx, "show data_directory").Scan(&dir)
	return dir, err
}

// URL returns the address of database postgres, or the URL given.
func (p *Postgres) URL() string { return p.url.String() }

// URLFor returns the address of another database on the same server, which the
// caller creates.
func (p *Postgres) URLFor(database string) string {
	u := *p.url
	u.Path, u.RawPath = "/"+database, ""
	return u.String()
}

// Bin returns the path of a program that comes with Postgres, such as pgbench,
// psql or pg_basebackup: beside the server's own, otherwise from PATH. It returns
// [ErrMissing], with what to install, if there is none.
func (p *Postgres) Bin(name string) (string, error) {
	if p.binDir != "" && holds(p.binDir, name) {
		return filepath.Join(p.binDir, name), nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w: no %s in %q or PATH; %s", ErrMissing, name, p.binDir, postgresHint)
}

// DataDir returns the data folder, or "" if the server was given.
func (p *Postgres) DataDir() string {
	if p.proc == nil {
		return ""
	}
	return filepath.Join(p.proc.dir, "data")
}

// Port returns the TCP port.
func (p *Postgres) Port() int {
	port, err := strconv.Atoi(p.url.Port())
	if err != nil {
		return 5432 // a given URL that names none
	}
	return port
}

// Kill crashes the server: sessions break off, no checkpoint is written, and the
// next Start recovers from the write-ahead log. It returns when the server is gone.
func (p *Postgres) Kill() error { return p.stop("kill", syscall.SIGQUIT) }

// Stop shuts the server down in order, rolling back open transactions, and returns
// when it is gone. It is no error if it is already stopped.
func (p *Postgres) Stop() error { return p.stop("stop", syscall.SIGINT) }

func (p *Postgres) stop(verb string, signal syscall.Signal) error {
	err := ErrNotOurs
	if p.proc != nil {
		err = p.proc.stop(signal)
	}
	if err != nil {
		return fmt.Errorf("%s postgres: %w", verb, err)
	}
	return nil
}

// Start starts the server again after Stop or Kill, on the same port and data. The
// context bounds the start (60 s at most).
func (p *Postgres) Start(ctx context.Context) error {
	err := ErrNotOurs
	if p.proc != nil {
		err = p.proc.start(ctx)
	}
	if err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	return nil
}

// Close stops the server and removes its folder. It is idempotent, and leaves
// alone a server that was given.
func (p *Postgres) Close() error {
	if p.proc == nil {
		return nil
	}
	if err := p.proc.close(); err != nil {
		return fmt.Errorf("close postgres: %w", err)
	}
	return nil
}
