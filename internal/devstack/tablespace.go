package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// ErrNoMount says that this process may not mount a file system: it is not root, it
// runs in a container without CAP_SYS_ADMIN, or the system is not Linux.
var ErrNoMount = errors.New("no permission to mount a tmpfs; use PostgresConfig.FileSizeLimit, " +
	"or run as root on Linux (in a container with CAP_SYS_ADMIN)")

// mountPattern names the mount points in a server's folder. The guardian looks for
// it too.
const mountPattern = "mount-*"

// SmallTablespace creates a tablespace that holds at most size bytes (a page of
// memory at least), tables, indexes and all: a tmpfs in the server's folder, which
// lasts until Close. Whatever goes beyond it fails with disk_full (53100), and space
// comes back when tables are dropped; a TRUNCATE on a full disk may fail for want of
// a page. The write-ahead log and all other tables are elsewhere and do not notice. It is still there after Stop and Start; but
// after a Kill while it is full, Start fails, as recovery on a full disk does. It
// returns [ErrNoMount] if we may not
// mount, and [ErrNotOurs] if the server was given by URL.
func (p *Postgres) SmallTablespace(ctx context.Context, name string, size int64) error {
	err := ErrNotOurs
	if p.proc != nil {
		err = p.createTablespace(ctx, name, size)
	}
	if err != nil {
		return fmt.Errorf("create tablespace %s: %w", name, err)
	}
	return nil
}

func (p *Postgres) createTablespace(ctx context.Context, name string, size int64) error {
	if size < 1 {
		return fmt.Errorf("%d bytes are not a size", size) // to tmpfs, 0 means no limit
	}
	dir, err := os.MkdirTemp(p.proc.dir, mountPattern)
	if err != nil {
		return err
	}
	if err := mountMemory(dir, size, p.proc.user); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	// Close unmounts what a failure leaves here.
	return p.exec(ctx, fmt.Sprintf("create tablespace %s location '%s'", pgx.Identifier{name}.Sanitize(), dir))
}
