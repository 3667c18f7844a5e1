package faults

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// broker is nats-server as a process of its own, which unlike the one of devstack can be killed.
type broker struct {
	t         testing.TB
	dir, port string
	p         *program
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, dir: filepath.Join(t.TempDir(), "store"), port: port}
	b.start()
	return b
}

func (b *broker) url() string { return "nats://127.0.0.1:" + b.port }

// start returns when the server takes connections.
func (b *broker) start() {
	b.t.Helper()
	b.p = start(b.t, nil, natsTool.path(b.t), "-js", "-sd", b.dir, "-a", "127.0.0.1", "-p", b.port)
	devtest.Eventually(b.t, 30*time.Second, "nats-server takes connections", func() error {
		nc, err := nats.Connect(b.url())
		if err == nil {
			nc.Close()
		}
		return err
	})
}

// stop ends it in order, or kills it.
func (b *broker) stop(kill bool) {
	b.t.Helper()
	if !kill {
		b.p.signal(syscall.SIGTERM)
		b.p.ended(30 * time.Second)
	}
	b.p.kill()
}

// blocks are the files with the messages of a stream, in order.
func (b *broker) blocks(stream string) []string {
	b.t.Helper()
	files, err := filepath.Glob(filepath.Join(b.dir, "jetstream", "$G", "streams", stream, "msgs", "*.blk"))
	if err != nil || len(files) == 0 {
		b.t.Fatalf("blocks of stream %s: %v %v", stream, files, err)
	}
	byNumber := make([]string, 0, len(files))
	for length := 0; len(byNumber) < len(files); length++ { // 9.blk comes before 10.blk
		for _, f := range files {
			if len(f) == length {
				byNumber = append(byNumber, f)
			}
		}
	}
	return byNumber
}

// putBack makes the store what the copy is. The server does not run.
func putBack(store, saved string) error {
	if err := os.RemoveAll(store); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.CopyFS(store, os.DirFS(saved))
}

// says waits until the program says something once more than it has before do.
func (s *scene) says(p *program, text string, do func()) {
	s.t.Helper()
	before := strings.Count(p.log.String(), text)
	do()
	s.eventually(60*time.Second, "the program says: "+text, func(context.Context) error {
		if strings.Count(p.log.String(), text) > before {
			return nil
		}
		return errors.New(p.log.String())
	})
}

// waits makes sure that events are pending, that the relay runs on, and that writers go on: commits come.
func (s *scene) waits(p *program, l *load) {
	s.t.Helper()
	before := l.committed.Load()
	s.eventually(30*time.Second, "events wait in the table", func(ctx context.Context) error {
		status, err := s.table.Status(ctx, s.pool, s.stream)
		if err == nil && (status.Pending == 0 || l.committed.Load() < before+10) {
			err = errors.New("none")
		}
		return err
	})
	select {
	case <-p.done:
		s.t.Fatalf("the relay ended with %d:\n%s", p.code, p.log.String())
	default:
	}
}

// committed are the events that the table has now.
func (s *scene) committed() map[uuid.UUID]bool {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT event_id FROM outbox.event"))
	s.must(err)
	var id uuid.UUID
	ids := make(map[uuid.UUID]bool)
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { ids[id] = true; return nil })
	s.must(err)
	return ids
}

// repaired waits until the stream has each of these events, and notes how long that took since the broker was back.
func (s *scene) repaired(since time.Time, want map[uuid.UUID]bool) {
	s.t.Helper()
	stream := verify.Stream{Table: s.table, Pool: s.pool, Conn: s.nc, Name: s.stream}
	devtest.Eventually(s.t, 60*time.Second, "the stream has all again", func() error {
		ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
		defer cancel()
		have := make(map[uuid.UUID]bool, len(want))
		err := stream.Read(ctx, func(m jetstream.Msg) error {
			if e, err := event.Parse(m.Subject(), m.Headers(), nil); err == nil && want[e.ID] {
				have[e.ID] = true
			}
			return nil
		})
		if err == nil && len(have) < len(want) {
			err = errors.New("events are missing")
		}
		return err
	})
	s.row.recoveries = append(s.row.recoveries, time.Since(since))
}
