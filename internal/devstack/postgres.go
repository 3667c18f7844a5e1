package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PostgresConfig says which Postgres to start. The zero value starts one that is
// fast and forgets when the machine (not merely Postgres) crashes.
type PostgresConfig struct {
	// URL of a running server (postgres://…) to use instead of starting one. The
	// other fields but Log are then ignored.
	URL string
	// Fsync makes commits survive a crash of the machine, as in production. Off,
	// commits still survive Kill. Defaults to false; the demo and bench set it.
	Fsync bool
	// Settings are further "-c name=value" settings; they win over our own.
	Settings map[string]string
	// Dir is the parent of the server's own folder. Started by root, Postgres
	// runs as user postgres or nobody, who must be able to enter Dir. Defaults to
	// a temporary folder where that is so.
	Dir string
	// Log receives one line that says what was started, where and as whom.
	// Defaults to nowhere.
	Log io.Writer
}

// Postgres is a Postgres server. Its methods are safe for concurrent use.
type Postgres struct {
	url    *url.URL
	binDir string   // "" if the server was given and no programs were found
	proc   *process // nil if the server was given
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
	return &Postgres{url: given, binDir: binDir}, nil
}

func startPostgres(ctx context.Context, cfg PostgresConfig) (_ *Postgres, err error) {
	binDir, err := findPostgres()
	if err != nil {
		return nil, err
	}
	account, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(cfg.Dir, "postgres", account)
	if err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	proc := &process{
		name:  "postgres",
		dir:   dir,
		user:  account,
		abort: syscall.SIGQUIT, // SIGKILL would orphan the backends and leave shared memory
		argv: func(port int) []string {
			return append([]string{filepath.Join(binDir, "postgres"), "-D", data}, cfg.settings(port)...)
		},
		ready: func(ctx context.Context, port, _ int) error {
			answered, err := dataDirectory(ctx, postgresURL(port).String())
			if err == nil && answered != data {
				err = fmt.Errorf("port %d is taken by the server of %s", port, answered)
			}
			return err
		},
	}
	if err := proc.open(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, proc.close())
		}
	}()
	err = proc.run(ctx, filepath.Join(binDir, "initdb"), "-D", data, "-A", "trust", "-U", "postgres",
		"--no-sync", "-E", "UTF8", "--locale=C")
	if err != nil {
		return nil, err
	}
	if err := proc.startAnywhere(ctx); err != nil {
		return nil, err
	}
	uid := os.Geteuid()
	if account != nil {
		uid = int(account.Uid)
	}
	say(cfg.Log, "postgres: using %s as uid %d, %s, data %s", binDir, uid, address(proc.port), data)
	return &Postgres{url: postgresURL(proc.port), binDir: binDir, proc: proc}, nil
}

// settings returns the command line after the data folder.
func (cfg PostgresConfig) settings(port int) []string {
	settings := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"port":                      strconv.Itoa(port),
		"unix_socket_directories":   "", // none: no path too long, no folder of root's
		"max_connections":           "200",
		"max_prepared_transactions": "50",
		"shared_buffers":            "64MB",
	}
	if !cfg.Fsync {
		// Not synchronous_commit: without it, Kill would lose commits.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	maps.Copy(settings, cfg.Settings)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
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
