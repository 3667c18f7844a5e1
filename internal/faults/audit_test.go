package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	auditEnv        = "OUTBOX_AUDIT" // events in TestAudit; five million is what it is for
	mostAuditMemory = 200            // MiB
)

// audited is what outbox audit -o json says, as far as it is looked at here.
type audited struct {
	Committed, Published, Missing, Duplicates, Reordered, Foreign, Misplaced, Unreceipted, Accepted int64
	Seconds                                                                                         float64
	code, memory                                                                                    int // MiB at the peak
	stderr                                                                                          string
	cpu                                                                                             time.Duration
}

func (s *scene) audit(crash string, flags ...string) (a audited) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), outboxTool.path(s.t), append([]string{"audit", "--schema", s.table.Schema(), "--stream", s.stream, "-o", "json", "--grace", "1ms"}, flags...)...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.databaseURL, "NATS_URL="+s.natsURL, "OUTBOX_CRASH="+crash)
	if crash == "" {
		cmd.Env = cmd.Env[:len(cmd.Env)-1]
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	s.must(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	var err error
	for running := true; running; {
		select {
		case err = <-ended:
			running = false
		case <-look.C:
			a.memory = max(a.memory, peak(cmd.Process.Pid))
		}
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	a.cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond)
	a.code, a.stderr = cmd.ProcessState.ExitCode(), stderr.String()
	if a.code == 0 || a.code == 3 {
		s.must(json.Unmarshal(stdout.Bytes(), &a))
	}
	return a
}

// peak is the most that a process had resident, in MiB; 0 where the system does not say.
func peak(pid int) (mib int) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it may have ended
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	_, _ = fmt.Sscan(rest, &mib)
	return mib >> 10
}

// expect says whether an audit ended as it should.
func (a *audited) expect(t *testing.T, what string, code int, missing, duplicates, reordered, foreign int64) {
	t.Helper()
	if a.code != code || a.Missing != missing || a.Duplicates != duplicates || a.Reordered != reordered || a.Foreign != foreign || a.Misplaced != 0 || a.Unreceipted != 0 {
		t.Errorf("%s: %+v; want exit code %d, %d missing, %d duplicates, %d reordered, %d foreign", what, *a, code, missing, duplicates, reordered, foreign)
	}
	t.Logf("%s: %d of %d published, exit code %d, %.1f s, %v of a processor, %d MiB", what, a.Published, a.Committed, a.code, a.Seconds, a.cpu, a.memory)
}

// TestAudit damages a stream of very many events, one damage after the other, and audits it by the program. A repair is killed in its
// middle, and goes on when it is run again.
func TestAudit(t *testing.T) {
	n := 3000
	if text := os.Getenv(auditEnv); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("%s: %v", auditEnv, err)
		}
	}
	s := newScene(t, options{})
	s.insertKeys(n)
	relay := s.relay("audit", "")
	s.eventually(30*time.Minute, "everything published", s.published)
	relay.signal(syscall.SIGTERM)
	relay.ended(20 * time.Second)
	s.exec("VACUUM ANALYZE outbox.event")

	a := s.audit("")
	a.expect(t, "clean", 0, 0, 0, 0, 0)
	if a.Committed != int64(n) || a.Published != int64(n) {
		t.Errorf("%d committed, %d published, want %d", a.Committed, a.Published, n)
	}
	if a.memory > mostAuditMemory {
		t.Errorf("the audit used %d MiB, want at most %d", a.memory, mostAuditMemory)
	}
	fmt.Fprintf(os.Stderr, "audit of %d events: %.1f s, %v of a processor, %d MiB\n", n, a.Seconds, a.cpu, a.memory)

	stream, err := s.js.Stream(t.Context(), s.stream)
	s.must(err)
	for _, sequence := range []uint64{5, 6, uint64(n) / 2, uint64(n) - 1} {
		s.must(stream.DeleteMsg(t.Context(), sequence))
	}
	a = s.audit("")
	a.expect(t, "deleted", 3, 4, 0, 0, 0)

	events, err := s.table.Load(t.Context(), s.pool, 10, table.Page{Events: 1, Bytes: 1})
	s.must(err)
	s.put(events[0].Event)
	a = s.audit("")
	a.expect(t, "and published twice", 3, 4, 1, 0, 0)

	s.put(event.Event{ID: uuid.New(), Subject: s.stream + ".x", Position: int64(n) + 1})
	a = s.audit("")
	a.expect(t, "and rolled back", 3, 4, 1, 0, 1)

	a = s.audit("", "--since", "1ms")
	a.expect(t, "and nothing of it in this window", 0, 0, 0, 0, a.Foreign)

	s.relay("audit", "", "--on-removed", "accept")
	a = s.audit("audit-replanned:1", "--repair")
	if a.code != -1 {
		t.Errorf("the repair was not killed: %+v", a)
	}
	a = s.audit("audit-accepted:1", "--repair")
	if a.code != -1 {
		t.Errorf("the repair was not killed: %+v", a)
	}
	a = s.audit("", "--repair")
	a.expect(t, "repaired", 0, 0, 0, 0, 0)
	s.eventually(time.Minute, "everything published", s.published)
	a = s.audit("")
	a.expect(t, "and again", 0, 0, 0, 0, 0)
	if a.Committed != int64(n) || a.Published != int64(n) || a.Accepted != 2 {
		t.Errorf("%+v", a)
	}
}

// published is nil when everything is.
func (s *scene) published(ctx context.Context) error {
	status, err := s.table.Status(ctx, s.pool, s.stream)
	if err == nil && status.Pending != 0 {
		err = fmt.Errorf("%d pending", status.Pending)
	}
	return err
}

// put publishes an event past the relay and the stream's deduplication.
func (s *scene) put(e event.Event) {
	s.t.Helper()
	msg := nats.NewMsg(e.Subject)
	e.SetHeaders(msg.Header)
	msg.Header.Set(event.HeaderEventID, e.ID.String())
	msg.Header.Set(event.HeaderMsgID, uuid.NewString())
	_, err := s.js.PublishMsg(s.t.Context(), msg)
	s.must(err)
}

// insertKeys inserts events of 10,000 keys and 200 bytes, in transactions of 50,000, four at a time.
func (s *scene) insertKeys(n int) {
	s.t.Helper()
	var group errgroup.Group
	group.SetLimit(4)
	for left := n; left > 0; left -= 50_000 {
		group.Go(func() error {
			_, err := s.pool.Exec(s.t.Context(), s.table.SQL(`INSERT INTO outbox.event (subject, key, payload)
				SELECT $1 || (g % 10000), (g % 10000)::text, convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, $2::int) AS g`), s.stream+".", min(left, 50_000))
			return err
		})
	}
	s.must(group.Wait())
}
