package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	auditEnv       = "OUTBOX_AUDIT" // events of TestAudit at full size, such as 5000000
	maxAuditMemory = 200            // MiB
)

// auditResult is the output of outbox audit -o json, as far as the tests use it, and how the command ended.
type auditResult struct {
	Committed, Published, Missing, Duplicates, Reordered, Foreign, Misplaced, Unreceipted, Accepted int64
	Seconds                                                                                         float64
	code, memory                                                                                    int // exit code; peak in MiB
	stderr                                                                                          string
	cpu                                                                                             time.Duration
}

// audit runs outbox audit. crash, if not empty, is the point at which it kills itself: point:n.
func (s *scenario) audit(crash string, flags ...string) (a auditResult) {
	s.t.Helper()
	cmd := exec.CommandContext(s.t.Context(), outboxTool.path(s.t), append([]string{"audit", "--schema", s.table.Schema(), "--stream", s.stream, "-o", "json", "--grace", "1ms"}, flags...)...)
	cmd.Env = append(os.Environ(), s.env(crash)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	s.must(cmd.Start())
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	var err error
	for running := true; running; {
		select {
		case err = <-exited:
			running = false
		case <-poll.C:
			a.memory = max(a.memory, peakMemory(cmd.Process.Pid))
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

// expect requires an exit code and the counts of findings.
func (a *auditResult) expect(t *testing.T, state string, code int, missing, duplicates, reordered, foreign int64) {
	t.Helper()
	if a.code != code || a.Missing != missing || a.Duplicates != duplicates || a.Reordered != reordered || a.Foreign != foreign || a.Misplaced != 0 || a.Unreceipted != 0 {
		t.Errorf("audit, %s: got %+v; want exit code %d, %d missing, %d duplicates, %d reordered, %d foreign", state, *a, code, missing, duplicates, reordered, foreign)
	}
	t.Logf("audit, %s: %d of %d published, exit code %d, %.1f s, %v CPU time, %d MiB", state, a.Published, a.Committed, a.code, a.Seconds, a.cpu, a.memory)
}

// TestAudit damages a large stream step by step and runs outbox audit after each step. It kills a repair twice; the
// next repair completes it.
func TestAudit(t *testing.T) {
	n := sizeFrom(t, auditEnv, 3000)
	s := newScenario(t, options{})
	s.insertConcurrently(n, `INSERT INTO outbox.event (subject, key, payload)
		SELECT $1::text || (g % 10000), (g % 10000)::text, convert_to(repeat('x', 200), 'UTF8') FROM generate_series(1, $2::int) AS g`)
	relay := s.startRelay("audit", "")
	s.eventually(30*time.Minute, "every event published", s.allPublished)
	relay.signal(syscall.SIGTERM)
	relay.exited(20 * time.Second)
	s.exec("VACUUM ANALYZE outbox.event")

	a := s.audit("")
	a.expect(t, "no damage", 0, 0, 0, 0, 0)
	a.expectComplete(t, n)
	if a.memory > maxAuditMemory {
		t.Errorf("the audit used %d MiB, want at most %d", a.memory, maxAuditMemory)
	}
	fmt.Fprintf(os.Stderr, "audit of %d events: %.1f s, %v CPU time, %d MiB\n", n, a.Seconds, a.cpu, a.memory)

	stream, err := s.js.Stream(t.Context(), s.stream)
	s.must(err)
	for _, sequence := range []uint64{5, 6, uint64(n) / 2, uint64(n) - 1} {
		s.must(stream.DeleteMsg(t.Context(), sequence))
	}
	a = s.audit("")
	a.expect(t, "messages deleted", 3, 4, 0, 0, 0)

	events, err := s.table.Load(t.Context(), s.pool, 10, table.Page{Events: 1, Bytes: 1})
	s.must(err)
	s.publishDirectly(events[0].Event)
	a = s.audit("")
	a.expect(t, "and an event published twice", 3, 4, 1, 0, 0)

	s.publishDirectly(event.Event{ID: uuid.New(), Subject: s.stream + ".x", Position: int64(n) + 1})
	a = s.audit("")
	a.expect(t, "and an event that was rolled back", 3, 4, 1, 0, 1)

	a = s.audit("", "--since", "1ms")
	a.expect(t, "with --since after all events", 0, 0, 0, 0, a.Foreign)

	s.startRelay("audit", "", "--on-removed", "accept")
	for _, crash := range []string{"audit-replanned:1", "audit-accepted:1"} {
		if a = s.audit(crash, "--repair"); a.code != -1 {
			t.Errorf("audit --repair with crash point %s: got %+v, want a crash", crash, a)
		}
	}
	a = s.audit("", "--repair")
	a.expect(t, "repaired", 0, 0, 0, 0, 0)
	s.eventually(time.Minute, "every event published", s.allPublished)
	a = s.audit("")
	a.expect(t, "after the repair", 0, 0, 0, 0, 0)
	a.expectComplete(t, n)
	if a.Accepted != 2 {
		t.Errorf("audit after the repair: got %d accepted, want 2", a.Accepted)
	}
}

// expectComplete requires that all n events are committed and published.
func (a *auditResult) expectComplete(t *testing.T, n int) {
	t.Helper()
	if a.Committed != int64(n) || a.Published != int64(n) {
		t.Errorf("audit: got %d committed, %d published; want %d", a.Committed, a.Published, n)
	}
}

// publishDirectly publishes an event without the relay, and with a new message id, so that the stream does not discard
// it as a duplicate.
func (s *scenario) publishDirectly(e event.Event) {
	s.t.Helper()
	msg := nats.NewMsg(e.Subject)
	e.SetHeaders(msg.Header)
	msg.Header.Set(event.HeaderEventID, e.ID.String())
	msg.Header.Set(event.HeaderMsgID, uuid.NewString())
	_, err := s.js.PublishMsg(s.t.Context(), msg)
	s.must(err)
}
