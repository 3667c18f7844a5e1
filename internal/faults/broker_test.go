package faults

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A broker is nats-server in its own process. Unlike the server of devstack it can be killed.
type broker struct {
	t    testing.TB
	dir  string // the store
	port int
	p    *program
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	port, err := devstack.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, dir: filepath.Join(t.TempDir(), "store"), port: port}
	b.start()
	return b
}

func (b *broker) url() string { return fmt.Sprintf("nats://127.0.0.1:%d", b.port) }

// start starts the server and returns when it accepts connections.
func (b *broker) start() {
	b.t.Helper()
	b.p = start(b.t, nil, natsTool.path(b.t), "-js", "-sd", b.dir, "-a", "127.0.0.1", "-p", strconv.Itoa(b.port))
	devtest.Eventually(b.t, 30*time.Second, "connection to nats-server", func() error {
		nc, err := nats.Connect(b.url())
		if err == nil {
			nc.Close()
		}
		return err
	})
}

// stop kills the server, or shuts it down cleanly if kill is false.
func (b *broker) stop(kill bool) {
	b.t.Helper()
	if !kill {
		b.p.signal(syscall.SIGTERM)
		b.p.exited(30 * time.Second)
	}
	b.p.Kill()
}

// blocks returns the files that contain the messages of a stream, oldest first.
func (b *broker) blocks(stream string) []string {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "jetstream", "$G", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		b.t.Fatalf("find the blocks of stream %s: got %v, %v; want at least one", stream, files, err)
	}
	byNumber := make([]string, 0, len(files))
	for length := 0; len(byNumber) < len(files); length++ { // Glob sorts 10.blk before 9.blk
		for _, f := range files {
			if len(f) == length {
				byNumber = append(byNumber, f)
			}
		}
	}
	return byNumber
}

// restoreStore replaces the store with a copy. The server must be stopped.
func restoreStore(store, saved string) error {
	if err := os.RemoveAll(store); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.CopyFS(store, os.DirFS(saved))
}

// awaitPending waits until events are pending although writers commit more, and requires that the relay is running.
func (s *scenario) awaitPending(p *program, l *load) {
	s.t.Helper()
	before := l.committed.Load()
	s.eventually(30*time.Second, "pending events and new commits", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if committed := l.committed.Load() - before; err == nil && (status.Pending == 0 || committed < 10) {
			err = fmt.Errorf("got %d pending, %d committed", status.Pending, committed)
		}
		return err
	})
	select {
	case <-p.Done():
		s.t.Fatalf("the relay exited with %d:\n%s", p.State().ExitCode(), p.log.String())
	default:
	}
}

// committedIDs returns the ids of the events that are in the table now.
func (s *scenario) committedIDs() map[uuid.UUID]bool {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT event_id FROM outbox.event"))
	s.must(err)
	var id uuid.UUID
	ids := make(map[uuid.UUID]bool)
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { ids[id] = true; return nil })
	s.must(err)
	return ids
}

// awaitRepaired waits until the stream contains each of these events, and records the time since the broker was back.
func (s *scenario) awaitRepaired(since time.Time, want map[uuid.UUID]bool) {
	s.t.Helper()
	stream := s.verifier()
	s.retry(20*time.Second, 60*time.Second, "stream repaired", func(ctx context.Context) error {
		have := make(map[uuid.UUID]bool, len(want))
		err := stream.Read(ctx, func(m jetstream.Msg) error {
			if e, err := event.Parse(m.Subject(), m.Headers(), nil); err == nil && want[e.ID] {
				have[e.ID] = true
			}
			return nil
		})
		if err == nil && len(have) < len(want) {
			err = fmt.Errorf("%d of %d events are missing", len(want)-len(have), len(want))
		}
		return err
	})
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
}
