package dial

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// Await retries until the server answers, logs once that it waits, and stops at its deadline, on a refusal, and when
// ctx ends.
func TestAwait(t *testing.T) {
	t.Parallel()
	unavailable := exit.Unreached(exit.NATS, errors.New("connection refused"))
	refused := exit.Usagef(nil, "wrong")
	running := context.Background()
	stopped, stop := context.WithCancel(running)
	stop()
	for name, c := range map[string]struct {
		wait    time.Duration
		ctx     context.Context
		answers []error // the last one repeats
		tries   int     // 0: more than one
		want    error
	}{
		"at once":           {0, running, []error{nil}, 1, nil},
		"without --wait":    {0, running, []error{unavailable, nil}, 1, unavailable},
		"the third time":    {time.Minute, running, []error{unavailable, unavailable, nil}, 3, nil},
		"a refusal":         {time.Minute, running, []error{unavailable, refused, nil}, 2, refused},
		"until it is over":  {60 * time.Millisecond, running, []error{unavailable}, 0, unavailable},
		"until the program": {time.Minute, stopped, []error{unavailable}, 1, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			s := &setting.Set{Log: slog.New(slog.NewTextHandler(&log, nil)), Deadline: time.Now().Add(c.wait)}
			tries := 0
			err := Await(c.ctx, s, exit.NATS, func() error {
				tries++
				return c.answers[min(tries, len(c.answers))-1]
			})
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if c.tries > 0 && tries != c.tries || c.tries == 0 && tries < 2 {
				t.Errorf("%d tries, want %d", tries, c.tries)
			}
			if logged := strings.Count(log.String(), "server not available, retrying"); logged != min(1, max(tries-1, 0)) && c.ctx == running {
				t.Errorf("it logs %d times that it waits", logged)
			}
		})
	}
}
