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
	// HBA are lines of pg_hba.conf, such as "hostssl all app 127.0.0.1/32
	// scram-sha-256", which decide for every role but postgres: that one stays
	// trusted from 127.0.0.1, for [Postgres.URL] and for standbys. Defaults to one
	// line that trusts every role.
	HBA []string
	// TLS is the server's certificate: Postgres then takes connections with and
	// without TLS, and HBA decides which. The files are copied, so that Postgres may
	// read them. URL keeps sslmode=disable. Defaults to no TLS.
	TLS TLSFiles
	// FileSizeLimit is the most bytes that one file of the server can have (ulimit
	// -f): extending a table beyond it fails as on a full disk, with an ERROR, and
	// the server goes on. It needs no privileges, but it is no full disk: each table
	// and index has the limit to itself, and others can still grow. At least 16 MiB,
	// a segment of the write-ahead log. Defaults to no limit. See also
	// [Postgres.SmallTablespace].
	FileSizeLimit int64
	// Dir is the parent of the server's own folder. Started by root, Postgres
	// runs as user postgres or nobody, who must be able to enter Dir. Defaults to
	// a temporary folder where that is so.
	Dir string
	// Log receives one line that says what was started, where and as whom.
	// Defaults to nowhere.
	Log io.Writer
}

// TLSFiles are the paths of PEM files. Cert and Key belong together; with CA, the
// server asks its clients for a certificate that CA signed, as far as its other
// settings demand one. The zero value means no TLS.
type TLSFiles struct {
	Cert string // the server's certificate and the chain above it
	Key  string // its private key, without a passphrase
	CA   string // optional
}

func (f TLSFiles) check() error {
	if (f.Cert == "") != (f.Key == "") || f.Cert == "" && f.CA != "" {
		return errors.New("TLS needs both Cert and Key")
	}
	return nil
}

// walSegment is the size of a file of the write-ahead log, in bytes.
const walSegment = 16 << 20

func (cfg PostgresConfig) check() error {
	if cfg.FileSizeLimit != 0 && cfg.FileSizeLimit < walSegment {
		return fmt.Errorf("FileSizeLimit %d is less than a segment of the write-ahead log, %d", cfg.FileSizeLimit, walSegment)
	}
	return cfg.TLS.check()
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
	if cfg.TLS.Cert != "" {
		settings["ssl"] = "on" // with server.crt and server.key, which writeAccess made
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

// limit returns the command that runs the rest of its command line under
// FileSizeLimit, or nothing. Half a page above a multiple of the page size, a write
// comes back short, and Postgres says disk_full (53100) instead of passing on EFBIG
// (version 15; later ones extend tables in other ways too).
func (cfg PostgresConfig) limit() []string {
	if cfg.FileSizeLimit == 0 {
		return nil
	}
	const page, unit = 8192, 512 // bytes; unit is that of ulimit in a POSIX shell
	blocks := (cfg.FileSizeLimit/page*page + page/2) / unit
	return []string{"/bin/sh", "-c", `ulimit -f "$0" && exec "$@"`, strconv.FormatInt(blocks, 10)}
}

// writeAccess writes who may connect, and the server's certificate, into a data
// folder that initdb made.
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

// writeFile writes a file that owner (nil: we) alone may read.
func writeFile(path string, content []byte, owner *syscall.Credential) error {
	if err := os.WriteFile(path, content, 0o600); err != nil || owner == nil {
		return err
	}
	return os.Chown(path, int(owner.Uid), int(owner.Gid))
}
