package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// ErrNoMount reports that this process may not mount a file system: it is not root, it runs in a container without
// CAP_SYS_ADMIN, or the system is not Linux.
var ErrNoMount = errors.New("no permission to mount a tmpfs; use PostgresConfig.FileSizeLimit, " +
	"or run as root on Linux (in a container with CAP_SYS_ADMIN)")

// mountPattern matches the mount points in a server's folder. The guardian uses the same pattern.
const mountPattern = "mount-*"

// SmallTablespace creates a tablespace with room for size bytes of tables and indexes. size is rounded up to a page of
// memory. The tablespace is a tmpfs in the server's folder and lasts until Close.
//
// Writes beyond the limit fail with disk_full (53100). Dropping tables frees space; TRUNCATE may fail on a full
// tablespace because it first needs a page. The write-ahead log and tables in other tablespaces are not affected. The
// tablespace survives Stop and Start. After a Kill while it is full, Start fails, as does any recovery on a full disk.
//
// SmallTablespace returns [ErrNoMount] if this process may not mount file systems, and [ErrExternal] for an external
// server.
func (p *Postgres) SmallTablespace(ctx context.Context, name string, size int64) error {
	return control(p.proc, "create tablespace "+name, func(*process) error { return p.createTablespace(ctx, name, size) })
}

func (p *Postgres) createTablespace(ctx context.Context, name string, size int64) error {
	if size < 1 {
		return fmt.Errorf("invalid size of %d bytes; want at least 1", size) // tmpfs takes 0 for no limit
	}
	dir, err := os.MkdirTemp(p.proc.dir, mountPattern)
	if err != nil {
		return err
	}
	if err := mountMemory(dir, size, p.proc.user); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	// After an error Close unmounts the tmpfs.
	return p.exec(ctx, fmt.Sprintf("create tablespace %s location '%s'", pgx.Identifier{name}.Sanitize(), dir))
}
