package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// --wait tries again until the server answers, says once that it waits, and gives up at its end, on a refusal, and with the
// program.
func TestAwait(t *testing.T) {
	t.Parallel()
	away := &serverError{natsServer, errors.New("connection refused")}
	refused := &usageError{err: errors.New("wrong")}
	stopped := make(chan struct{})
	close(stopped)
	for name, c := range map[string]struct {
		patience time.Duration
		stop     <-chan struct{}
		answers  []error // the last one for ever
		tries    int     // 0: more than one
		want     error
	}{
		"at once":           {0, nil, []error{nil}, 1, nil},
		"without --wait":    {0, nil, []error{away, nil}, 1, away},
		"the third time":    {time.Minute, nil, []error{away, away, nil}, 3, nil},
		"a refusal":         {time.Minute, nil, []error{away, refused, nil}, 2, refused},
		"until it is over":  {60 * time.Millisecond, nil, []error{away}, 0, away},
		"until the program": {time.Minute, stopped, []error{away}, 1, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := settings{log: slog.New(slog.NewTextHandler(&log, nil)), patience: time.Now().Add(c.patience), stop: c.stop}
			tries := 0
			err := s.await(natsServer, func() error {
				tries++
				return c.answers[min(tries, len(c.answers))-1]
			})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.tries > 0 && tries != c.tries || c.tries == 0 && tries < 2 {
				t.Errorf("%d tries, want %d", tries, c.tries)
			}
			if said := strings.Count(log.String(), "waiting for a server"); said != min(1, max(tries-1, 0)) && c.stop == nil {
				t.Errorf("it says %d times that it waits", said)
			}
		})
	}
}

// The program waits for a database that comes up after it was started, and says so.
func TestProgramWaits(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(devtest.Postgres(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	proxy, err := faultnet.Listen(at.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer proxy.Close()
	proxy.Refuse()
	at.Host = proxy.Addr()
	cmd := program{t, []string{"OUTBOX_DATABASE_URL=" + at.String()}}.command("migrate", "status", "--wait", "20s", "--schema", devtest.Schema(t))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stderr)
	if !lines.Scan() || !strings.Contains(lines.Text(), "waiting for a server") {
		t.Errorf("it says %q", lines.Text())
	}
	proxy.Heal()
	var rest strings.Builder
	for lines.Scan() {
		fmt.Fprintln(&rest, lines.Text())
	}
	_ = cmd.Wait()                                                 // its code is asked for
	if code := cmd.ProcessState.ExitCode(); code != exitFindings { // all migrations are pending
		t.Errorf("exit code %d, want %d: %s", code, exitFindings, &rest)
	}
}
