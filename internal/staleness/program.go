package staleness

import (
	"context"
	"fmt"
	"os/exec"
	"syscall"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Build compiles the program outbox into a folder and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	return child.Build(ctx, dir, "github.com/seed-6eff6314/outbox-relay/cmd/outbox")
}

// A program is outbox as a process of its own.
type program struct {
	*child.Process
	verb   string
	output child.Output
}

// startProgram starts the program at path with a verb and its flags.
func startProgram(env []string, path, verb string, flags ...string) (*program, error) {
	p := &program{verb: verb, output: child.Output{Keep: 1 << 20}}
	cmd := exec.Command(path, append([]string{verb}, flags...)...) // #nosec G204 -- outbox itself
	cmd.Env = child.Environ(env...)
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	var err error
	if p.Process, err = child.Start(cmd, syscall.SIGKILL); err != nil {
		return nil, fmt.Errorf("start outbox %s: %w", verb, err)
	}
	return p, nil
}

// checkRunning returns an error if the program has ended.
func (p *program) checkRunning() error {
	if !p.Ended() {
		return nil
	}
	return fmt.Errorf("outbox %s ended unexpectedly: %s; its last output:\n%s", p.verb, p.State(), p.output.Tail())
}

// await polls until check returns nil. If ctx or the time within ends first, it returns the last error of check. One call
// of check may take 3 s.
func await(ctx context.Context, within time.Duration, what string, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last error
	err := wait.Until(ctx, 20*time.Millisecond, func() (bool, error) {
		one, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		err := check(one)
		if err != nil && (ctx.Err() == nil || last == nil) {
			last = err
		}
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("await %s: not within %s: %w", what, within, last)
	}
	return nil
}
