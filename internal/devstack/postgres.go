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
	binDir string   // folder of the programs; "" for an external server if no programs are installed
	proc   *process // nil for an external server
	cfg    PostgresConfig

	primary  *Postgres   // nil unless Standby created this server
	detached atomic.Bool // starts without a connection to its primary; see Detach
}

// StartPostgres starts a server and returns when it accepts connections. If cfg names a URL, it checks that the
// external server accepts connections. The context bounds the start (60 s at most), not the lifetime of the server. The
// caller must Close the server. StartPostgres returns [ErrMissing] if Postgres is not installed.
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
		return nil, errors.New("invalid URL of the external server; want postgres://user@host:port/database")
	}
	conn, err := pgx.Connect(ctx, cfg.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	binDir, _ := findPostgres() // the programs are optional: Bin returns an error if one is missing
	logf(cfg.Log, "postgres: using the external server %s", given.Redacted())
	return &Postgres{url: given, binDir: binDir, cfg: cfg}, nil
}

// startPostgres starts a server with an empty database.
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

// launchPostgres starts a server in its own folder, with the data that fill creates there. After an error it has
// stopped the server and removed the folder.
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
				err = fmt.Errorf("port %d is in use by another server, with data in %s", port, answered)
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
	logf(p.cfg.Log, "postgres: using %s as uid %d, %s, data %s", p.binDir, uid, address(p.proc.port), p.DataDir())
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

// dataDirectory returns the data folder of the server at connString, which distinguishes our server from another one at
// the same port.
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

// URL returns the URL of database postgres, or the configured URL of an external server.
func (p *Postgres) URL() string { return p.url.String() }

// URLFor returns the URL of another database of the same server. The caller creates that database.
func (p *Postgres) URLFor(database string) string {
	u := *p.url
	u.Path, u.RawPath = "/"+database, ""
	return u.String()
}

// Bin returns the path of a program that is part of Postgres, such as pgbench, psql or pg_basebackup. It searches the
// folder of the server program and then PATH. If the program is not installed, Bin returns [ErrMissing] with the
// command that installs it.
func (p *Postgres) Bin(name string) (string, error) {
	if p.binDir != "" && holds(p.binDir, name) {
		return filepath.Join(p.binDir, name), nil
	}
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return "", fmt.Errorf("%w: no %s in %q or PATH; %s", ErrMissing, name, p.binDir, postgresHint)
}

// DataDir returns the data folder, or "" for an external server.
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
		return 5432 // the URL of an external server may omit the default port
	}
	return port
}

// Kill crashes the server: it drops all sessions and writes no checkpoint, and the next Start recovers from the
// write-ahead log. Kill returns when the server has exited.
func (p *Postgres) Kill() error { return p.stop("kill", syscall.SIGQUIT) }

// Stop shuts the server down cleanly, which rolls back open transactions, and returns when the server has exited.
// Stopping a stopped server is not an error.
func (p *Postgres) Stop() error { return p.stop("stop", syscall.SIGINT) }

func (p *Postgres) stop(verb string, signal syscall.Signal) error {
	return control(p.proc, verb+" postgres", func(p *process) error { return p.stop(signal) })
}

// Start starts the server again after Stop or Kill, with the same port and data. The context bounds the start (60 s at
// most).
func (p *Postgres) Start(ctx context.Context) error {
	return control(p.proc, "start postgres", func(p *process) error { return p.start(ctx) })
}

// Close stops the server and removes its folder. It is idempotent, and does nothing to an external server.
func (p *Postgres) Close() error {
	if p.proc == nil {
		return nil
	}
	return control(p.proc, "close postgres", (*process).close)
}
