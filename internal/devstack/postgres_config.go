package devstack

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// PostgresConfig configures a Postgres server. The zero value starts a server that is fast and that loses commits if
// the machine (not only Postgres) crashes.
type PostgresConfig struct {
	// URL of a running external server (postgres://…), used instead of starting one. All other fields except Log are
	// then ignored.
	URL string
	// Fsync makes commits survive a crash of the machine, as in production. Without it, commits still survive Kill.
	// Defaults to false; the demo and the benchmarks set it.
	Fsync bool
	// Settings are additional "-c name=value" settings. They override the settings that devstack makes.
	Settings map[string]string
	// HBA lists lines of pg_hba.conf, such as "hostssl all app 127.0.0.1/32 scram-sha-256". They apply to every role
	// except postgres: [Postgres.URL] and standbys need trusted connections of that role from 127.0.0.1. Defaults to
	// one line that trusts every role.
	HBA []string
	// TLS is the server's certificate. Postgres then accepts connections with and without TLS; HBA can restrict them.
	// devstack copies the files so that the server's user may read them. URL keeps sslmode=disable. Defaults to no TLS.
	TLS TLSFiles
	// FileSizeLimit is the maximum size of one file of the server, in bytes (ulimit -f). Extending a table beyond it
	// fails with an ERROR, as on a full disk, and the server continues to run. The limit needs no privileges. Unlike a
	// full disk it applies to each table and index separately: while one cannot grow, the others still can. The minimum
	// is 16 MiB, one segment of the write-ahead log. Defaults to no limit. See also [Postgres.SmallTablespace].
	FileSizeLimit int64
	// Dir is the parent of the server's own folder. If this process is root, Postgres runs as user postgres or nobody,
	// who must be able to enter Dir. Defaults to a temporary folder that this user can enter.
	Dir string
	// Log receives one line that describes the server, its address and its user. Defaults to no log.
	Log io.Writer
}

// TLSFiles are the paths of PEM files. Cert and Key must be set together. With CA the server accepts client
// certificates that CA signed; whether it requires one depends on its other settings. The zero value means no TLS.
type TLSFiles struct {
	Cert string // the server's certificate, followed by the intermediate certificates
	Key  string // its private key, without a passphrase
	CA   string // optional
}

func (f TLSFiles) check() error {
	if (f.Cert == "") != (f.Key == "") || f.Cert == "" && f.CA != "" {
		return errors.New("TLSFiles: Cert and Key must be set together, and CA needs both")
	}
	return nil
}

// walSegment is the size of a file of the write-ahead log, in bytes.
const walSegment = 16 << 20

func (cfg PostgresConfig) check() error {
	if cfg.FileSizeLimit != 0 && cfg.FileSizeLimit < walSegment {
		return fmt.Errorf("FileSizeLimit must be at least %[2]d, the size of a segment of the write-ahead log; got %[1]d", cfg.FileSizeLimit, walSegment)
	}
	return cfg.TLS.check()
}

// settings returns the command-line arguments that follow the data folder.
func (cfg PostgresConfig) settings(port int) []string {
	settings := map[string]string{
		"listen_addresses":          "127.0.0.1",
		"port":                      strconv.Itoa(port),
		"unix_socket_directories":   "", // none: a socket path may be too long, and its folder may belong to root
		"max_connections":           "200",
		"max_prepared_transactions": "50",
		"shared_buffers":            "64MB",
	}
	if !cfg.Fsync {
		// Keep synchronous_commit on: otherwise Kill would lose commits.
		settings["fsync"] = "off"
		settings["full_page_writes"] = "off"
	}
	if cfg.TLS.Cert != "" {
		settings["ssl"] = "on" // writeAccess creates server.crt and server.key
	}
	if cfg.TLS.CA != "" {
		settings["ssl_ca_file"] = "root.crt"
	}
	maps.Copy(settings, cfg.Settings)
	var args []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	return args
}

// limit returns the command that runs the rest of its command line under FileSizeLimit, or nil. The limit is half a
// page above a multiple of the page size, so that a write at the limit is short: Postgres 15 then reports disk_full
// (53100) instead of EFBIG. Later versions also extend tables in other ways.
func (cfg PostgresConfig) limit() []string {
	if cfg.FileSizeLimit == 0 {
		return nil
	}
	const page, unit = 8192, 512 // bytes; unit is the unit of ulimit -f in a POSIX shell
	blocks := (cfg.FileSizeLimit/page*page + page/2) / unit
	return []string{"/bin/sh", "-c", `ulimit -f "$0" && exec "$@"`, strconv.FormatInt(blocks, 10)}
}

// writeAccess writes pg_hba.conf and the TLS files into a data folder that initdb created.
func (cfg PostgresConfig) writeAccess(data string, owner *syscall.Credential) error {
	if cfg.HBA != nil {
		lines := append([]string{
			"host all,replication postgres 127.0.0.1/32 trust",
		}, cfg.HBA...)
		text := strings.Join(lines, "\n") + "\n"
		if err := writeFile(filepath.Join(data, "pg_hba.conf"), []byte(text), owner); err != nil {
			return fmt.Errorf("write HBA: %w", err)
		}
	}
	for name, from := range map[string]string{
		"server.crt": cfg.TLS.Cert, "server.key": cfg.TLS.Key, "root.crt": cfg.TLS.CA,
	} {
		if from == "" {
			continue
		}
		pem, err := os.ReadFile(from)
		if err == nil {
			err = writeFile(filepath.Join(data, name), pem, owner)
		}
		if err != nil {
			return fmt.Errorf("copy TLS files: %w", err)
		}
	}
	return nil
}

// writeFile writes a file that only owner (nil: the user of this process) may read.
func writeFile(path string, content []byte, owner *syscall.Credential) error {
	if err := os.WriteFile(path, content, 0o600); err != nil || owner == nil {
		return err
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}
