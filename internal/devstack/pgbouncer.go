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

// PgBouncerConfig configures a PgBouncer. Postgres is required.
type PgBouncerConfig struct {
	// Postgres is the server that PgBouncer forwards to, for all databases. It need not be running. For an external
	// server PgBouncer uses the user and password of its URL.
	Postgres *Postgres
	// PoolMode is "session", "transaction" or "statement". Defaults to "transaction".
	PoolMode string
	// Users lists the roles that may connect, in addition to the role in Postgres' URL. The value is the password that
	// PgBouncer uses to log in to Postgres, "" for none. PgBouncer itself requires no password from its clients.
	// Defaults to none.
	Users map[string]string
	// Settings are additional settings of section [pgbouncer], such as default_pool_size (20 connections for each pair
	// of user and database). They override the settings that devstack makes. Defaults to none.
	Settings map[string]string
	// Dir is the parent of the server's own folder; see [PostgresConfig]. Defaults to a temporary folder.
	Dir string
	// Log receives one line that describes the server and its address. Defaults to no log.
	Log io.Writer
}

// PgBouncer is a connection pooler for a Postgres server. Its methods are safe for concurrent use.
type PgBouncer struct {
	cfg  PgBouncerConfig
	proc *process
}

// StartPgBouncer starts a pooler and returns when it answers queries. The context bounds the start (60 s at most), not
// the lifetime of the pooler. The caller must Close the pooler. StartPgBouncer returns [ErrMissing] if pgbouncer is not
// installed. Like Postgres, the pooler runs as user postgres or nobody if this process is root.
func StartPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	b, err := startPgBouncer(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start pgbouncer: %w", err)
	}
	return b, nil
}

func startPgBouncer(ctx context.Context, cfg PgBouncerConfig) (*PgBouncer, error) {
	if cfg.Postgres == nil {
		return nil, errors.New("PgBouncerConfig.Postgres is required")
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
		abort:     syscall.SIGKILL, // the meaning of other signals depends on the version of PgBouncer
		configure: b.configure,
		argv:      func(int) []string { return []string{program, b.file("pgbouncer.ini")} },
		ready: func(ctx context.Context, port, _ int) error {
			answered, err := b.configFile(ctx, port)
			if err == nil && answered != b.file("pgbouncer.ini") {
				err = fmt.Errorf("port %d is in use by another pgbouncer, with configuration %q", port, answered)
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
	logf(cfg.Log, "pgbouncer: using %s, %s in front of %s", program, address(b.proc.port), cfg.Postgres.url.Host)
	return b, nil
}

func (b *PgBouncer) file(name string) string { return filepath.Join(b.proc.dir, name) }

// owner returns the role in Postgres' URL, which may also use the admin console.
func (b *PgBouncer) owner() string { return b.cfg.Postgres.url.User.Username() }

// configure writes pgbouncer.ini for a port, and the file of users.
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

// configFile returns the configuration path of the pooler at a port, which distinguishes our pooler from another. The
// console of PgBouncer supports the simple protocol only.
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

// URL returns the URL, through the pooler, of database postgres, or of the database that the URL of an external
// Postgres names.
func (b *PgBouncer) URL() string {
	u := *postgresURL(b.proc.port)
	u.User, u.Path = b.cfg.Postgres.url.User, b.cfg.Postgres.url.Path
	return u.String()
}

// Stop ends the pooler with SIGKILL, which closes all connections of clients and to Postgres, and returns when the
// pooler has exited. Stopping a stopped pooler is not an error.
func (b *PgBouncer) Stop() error {
	return control(b.proc, "stop pgbouncer", func(p *process) error { return p.stop(syscall.SIGKILL) })
}

// Start starts the pooler again after Stop, with the same port. The context bounds the start (60 s at most).
func (b *PgBouncer) Start(ctx context.Context) error {
	return control(b.proc, "start pgbouncer", func(p *process) error { return p.start(ctx) })
}

// Close stops the pooler and removes its folder. It is idempotent, and does not stop Postgres.
func (b *PgBouncer) Close() error { return control(b.proc, "close pgbouncer", (*process).close) }
