package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
)

// PgBouncerConfig says which PgBouncer to start. Postgres is required.
type PgBouncerConfig struct {
	// Postgres is the server to stand in front of, with all its databases. It need
	// not run. One given by URL is reached with the user and password of that URL.
	Postgres *Postgres
	// PoolMode is "session", "transaction" or "statement". Defaults to "transaction".
	PoolMode string
	// Users are the roles that may connect beside that of Postgres' URL, with the
	// password that PgBouncer logs in with at Postgres, "" for none. PgBouncer itself
	// asks nobody for a password. Defaults to none.
	Users map[string]string
	// Settings are further settings of section [pgbouncer], such as
	// default_pool_size (20 connections for each user and database); they win over
	// our own. Defaults to none.
	Settings map[string]string
	// Dir is the parent of the server's own folder; see [PostgresConfig]. Defaults to
	// a temporary folder.
	Dir string
	// Log receives one line that says what was started and where. Defaults to nowhere.
	Log io.Writer
}

// PgBouncer is a connection pooler in front of a Postgres. Its methods are safe for
// concurrent use.
type PgBouncer struct {
	cfg  PgBouncerConfig
	proc *process
}

// StartPgBouncer starts a pooler and returns when it answers. The context bounds the
// start (60 s at most), not the life of the pooler. The caller must Close it. It
// returns [ErrMissing] if pgbouncer is not installed. Like Postgres, it runs as user
// postgres or nobody if we are root.
func StartPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	b, err := startPgBouncer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	return b, nil
}

func startPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	if cfg.Postgres == nil {
		return nil, errors.New("the configuration has no Postgres")
	}
	program, err := findBouncer()
	if err != nil {
		return nil, err
	}
	account, err := serverUser()
	if err != nil {
		return nil, err
	}
	dir, err := newFolder(cfg.Dir, "pgbouncer", account)
	if err != nil {
		return nil, err
	}
	b := &PgBouncer{cfg: cfg}
	b.proc = &process{
		name:      "pgbouncer",
		dir:       dir,
		user:      account,
		abort:     syscall.SIGKILL, // what the other signals mean depends on its version
		configure: b.configure,
		argv:      func(int) []string { return []string{program, b.file("pgbouncer.ini")} },
		ready: func(ctx context.Context, port, _ int) error {
			answered, err := b.configFile(ctx, port)
			if err == nil && answered != b.file("pgbouncer.ini") {
				err = fmt.Errorf("port %d is taken by the pgbouncer of %q", port, answered)
			}
			return err
		},
	}
	if err := b.proc.open(); err != nil {
		return nil, err
	}
	if err := b.proc.startAnywhere(ctx); err != nil {
		return nil, errors.Join(err, b.proc.close())
	}
	say(cfg.Log, "pgbouncer: using %s, %s in front of %s", program, address(b.proc.port), cfg.Postgres.url.Host)
	return b, nil
}

func (b *PgBouncer) file(name string) string { return filepath.Join(b.proc.dir, name) }

// owner is the role of Postgres' URL, who may use the console too.
func (b *PgBouncer) owner() string { return b.cfg.Postgres.url.User.Username() }

// configure writes the configuration for a port, and who may connect.
func (b *PgBouncer) configure(port int) error {
	settings := map[string]string{
		"listen_addr":        "127.0.0.1",
		"listen_port":        strconv.Itoa(port),
		"unix_socket_dir":    "", // none
		"auth_type":          "trust",
		"auth_file":          b.file("users.txt"),
		"admin_users":        b.owner(),
		"pool_mode":          "transaction",
		"max_client_conn":    "1000",
		"server_tls_sslmode": "prefer",
	}
	if b.cfg.PoolMode != "" {
		settings["pool_mode"] = b.cfg.PoolMode
	}
	maps.Copy(settings, b.cfg.Settings)
	var text strings.Builder
	fmt.Fprintf(&text, "[databases]\n* = host=%s port=%d\n[pgbouncer]\n", b.cfg.Postgres.url.Hostname(), b.cfg.Postgres.Port())
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		fmt.Fprintf(&text, "%s = %s\n", name, settings[name])
	}
	if err := writeFile(b.file("pgbouncer.ini"), []byte(text.String()), b.proc.user); err != nil {
		return err
	}

	password, _ := b.cfg.Postgres.url.User.Password()
	users := map[string]string{b.owner(): password}
	maps.Copy(users, b.cfg.Users)
	quote := func(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
	var lines strings.Builder
	for _, name := range slices.Sorted(maps.Keys(users)) {
		fmt.Fprintf(&lines, "%s %s\n", quote(name), quote(users[name]))
	}
	return writeFile(b.file("users.txt"), []byte(lines.String()), b.proc.user)
}

// configFile asks the pooler at a port for the path of its configuration: what tells
// ours from another. Its console knows the simple protocol alone.
func (b *PgBouncer) configFile(ctx context.Context, port int) (string, error) {
	console := *postgresURL(port)
	console.User, console.Path = b.cfg.Postgres.url.User, "/pgbouncer"
	conn, err := pgx.Connect(ctx, console.String())
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	results, err := conn.PgConn().Exec(ctx, "show config").ReadAll()
	if err != nil {
		return "", err
	}
	for _, result := range results {
		for _, row := range result.Rows {
			if len(row) > 1 && string(row[0]) == "conffile" {
				return string(row[1]), nil
			}
		}
	}
	return "", nil
}

// URL returns the address of database postgres, or the database of the URL given to
// Postgres, through the pooler.
func (b *PgBouncer) URL() string {
	u := *postgresURL(b.proc.port)
	u.User, u.Path = b.cfg.Postgres.url.User, b.cfg.Postgres.url.Path
	return u.String()
}

// Stop ends the pooler by SIGKILL, with all connections on both sides, and returns
// when it is gone. It is no error if it is already stopped.
func (b *PgBouncer) Stop() error {
	if err := b.proc.stop(syscall.SIGKILL); err != nil {
		return fmt.Errorf("stop pgbouncer: %w", err)
	}
	return nil
}

// Start starts the pooler again after Stop, on the same port. The context bounds the
// start (60 s at most).
func (b *PgBouncer) Start(ctx context.Context) error {
	if err := b.proc.start(ctx); err != nil {
		return fmt.Errorf("start pgbouncer: %w", err)
	}
	return nil
}

// Close stops the pooler and removes its folder. It is idempotent, and leaves
// Postgres alone.
func (b *PgBouncer) Close() error {
	if err := b.proc.close(); err != nil {
		return fmt.Errorf("close pgbouncer: %w", err)
	}
	return nil
}
