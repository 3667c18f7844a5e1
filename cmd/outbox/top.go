package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	xterm "golang.org/x/term"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func topCommand() *cli.Command {
	return &cli.Command{
		Name: "top", Usage: "watch rates, lag, consumers, subjects and slowest keys live", UsageText: "outbox top [flags]",
		Description: `On a terminal it redraws the screen. Keys: q quits, / filters subjects, keys and consumers, p pauses the relay and r resumes
it, both after a question. Elsewhere it prints one line per reading. Rates are those between two readings. Subjects are those
of the last seconds; a token with a digit is shown as *.

Examples:
  outbox top
  outbox top --every 5s --count 3 | tee watch.log`,
		Flags: append([]cli.Flag{
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "`TIME` between readings, from 100ms to 1h"},
			&cli.IntFlag{Name: "count", Usage: "`N` readings, then exit; 0: until stopped"},
			&cli.StringFlag{Name: "filter", Usage: "show only subjects, keys and consumers that contain `TEXT`"},
		}, setting.Flags("invalidate", "dead-stream")...),
		Action: action("invalidate", top),
	}
}

func top(ctx context.Context, s *session) error {
	every := s.c.Duration("every")
	if every < 100*time.Millisecond || every > time.Hour || s.c.Int("count") < 0 {
		return exit.Usagef(s.c, "want --every from 100ms to 1h and --count of 0 or more")
	}
	l, err := openMonitor(ctx, s)
	if err != nil {
		return err
	}
	w := &watch{monitor: l, filter: s.c.String("filter"), count: s.c.Int("count"), every: every}
	out, drawn := term.IsTerminal(s.c.App.Writer)
	in, typed := term.IsTerminal(s.c.App.Reader)
	if drawn && typed {
		return w.live(ctx, in, out)
	}
	return w.lines(ctx, s.c.App.Writer)
}

// A watch takes readings. One goroutine owns it.
type watch struct {
	*monitor
	every  time.Duration
	count  int // of readings; 0: no limit
	filter string
	frames []frame // the last topFrames readings, newest last

	typing bool   // a filter
	ask    string // pause or resume, to be confirmed with y
	notice string // the outcome of the last key
}

// lines prints one line per reading.
func (w *watch) lines(ctx context.Context, out io.Writer) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		w.capture(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if _, err := fmt.Fprintln(out, w.line()); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		if n == w.count {
			return w.last().err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // the alternate screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// live draws on a terminal and reads single keys.
func (w *watch) live(ctx context.Context, in, out *os.File) (err error) {
	before, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	defer func() {
		_, _ = io.WriteString(out, leaveScreen) // the terminal is restored in any case
		err = errors.Join(err, xterm.Restore(int(in.Fd()), before))
	}()
	if _, err := io.WriteString(out, enterScreen); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	keys := make(chan byte)
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	go readKeys(stop, in, keys) // ends with the next key or with the process: a read of a terminal cannot be canceled
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	w.capture(ctx)
	for n := 1; ; {
		if err := w.draw(out); err != nil {
			return err
		}
		if n == w.count {
			return w.last().err
		}
		select {
		case <-tick.C:
			w.capture(ctx)
			n++
		case key, open := <-keys:
			if !open || w.key(ctx, key) {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func readKeys(ctx context.Context, in io.Reader, keys chan<- byte) {
	defer close(keys)
	var one [1]byte
	for {
		if n, err := in.Read(one[:]); n == 0 || err != nil {
			return
		}
		select {
		case keys <- one[0]:
		case <-ctx.Done():
			return
		}
	}
}

// draw draws the view on the whole screen.
func (w *watch) draw(out *os.File) error {
	width, height, err := xterm.GetSize(int(out.Fd()))
	if err != nil || width < 20 || height < 5 {
		width, height = 80, 24
	}
	if _, err := io.WriteString(out, "\x1b[H"+w.view(width, height)+"\x1b[J"); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// key handles a key, and reports whether it quits.
func (w *watch) key(ctx context.Context, key byte) (quit bool) {
	const ctrlC, escape, enter, erase, backspace = 3, 27, '\r', 127, 8
	w.notice = ""
	switch {
	case key == ctrlC:
		return true
	case w.typing && (key == enter || key == '\n'):
		w.typing = false
	case w.typing && key == escape:
		w.typing, w.filter = false, ""
	case w.typing && (key == erase || key == backspace):
		w.filter = w.filter[:max(len(w.filter)-1, 0)]
	case w.typing && key >= ' ' && len(w.filter) < 100:
		w.filter += string(rune(key))
	case w.typing:
	case w.ask != "":
		if key == 'y' {
			w.notice = w.turn(ctx, w.ask)
		}
		w.ask = ""
	case key == 'q':
		return true
	case key == '/':
		w.typing, w.filter = true, ""
	case key == 'p':
		w.ask = "pause"
	case key == 'r':
		w.ask = "resume"
	}
	return false
}

// turn pauses or resumes the relay, and returns the outcome.
func (w *watch) turn(ctx context.Context, what string) string {
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	var err error
	targets, why, author := []string{table.PauseRelay}, "from outbox top", os.Getenv("USER")
	if what == "pause" {
		_, err = w.table.Pause(ctx, w.pool, targets, 0, why, author)
	} else {
		_, err = w.table.Resume(ctx, w.pool, targets, why, author)
	}
	if err != nil {
		return redact.Text(err.Error())
	}
	return what + " recorded; the relay applies it within two seconds"
}
