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
		Name: "top", Usage: "watch the outbox live: rates, lag, consumers, subjects, slowest keys", UsageText: "outbox top [flags]",
		Description: `On a terminal it redraws in place; keys: q quits, / filters subjects, keys and consumers, p pauses the relay and r resumes it
(both ask first). Elsewhere it prints one line per look. Rates are those between two looks; subjects are those of the
last seconds, with tokens that have digits shown as *.

Examples:
  outbox top
  outbox top --every 5s --count 3 | tee watch.log`,
		Flags: append(setting.Flags("invalidate", "dead-stream"),
			&cli.DurationFlag{Name: "every", Value: time.Second, Usage: "`TIME` between looks, from 100ms to 1h"},
			&cli.IntFlag{Name: "count", Usage: "`N` looks, then end; 0: until stopped"},
			&cli.StringFlag{Name: "filter", Usage: "`TEXT` that subjects, keys and consumers have to contain"}),
		Action: action("invalidate", top),
	}
}

func top(ctx context.Context, s *session) error {
	every := s.c.Duration("every")
	if every < 100*time.Millisecond || every > time.Hour || s.c.Int("count") < 0 {
		return exit.Usagef(s.c, "--every wants 100ms to 1h, --count 0 or more")
	}
	l, err := openLookout(ctx, s)
	if err != nil {
		return err
	}
	w := &watch{lookout: l, filter: s.c.String("filter"), count: s.c.Int("count"), every: every}
	out, drawn := term.IsTerminal(s.c.App.Writer)
	in, typed := term.IsTerminal(s.c.App.Reader)
	if drawn && typed {
		return w.live(ctx, in, out)
	}
	return w.lines(ctx, s.c.App.Writer)
}

// A watch looks again and again. One goroutine owns it.
type watch struct {
	*lookout
	every  time.Duration
	count  int // looks; 0: no end
	filter string
	frames []frame // the last ones, newest last, as many as the sparkline shows

	typing bool   // a filter
	ask    string // a question that y answers
	said   string // what the last key came to
}

// lines prints one line per look.
func (w *watch) lines(ctx context.Context, out io.Writer) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for n := 1; ; n++ {
		w.shoot(ctx)
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
	enterScreen = "\x1b[?1049h\x1b[?25l" // the other screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
)

// live draws on a terminal, whose keys come one by one.
func (w *watch) live(ctx context.Context, in, out *os.File) (err error) {
	before, err := xterm.MakeRaw(int(in.Fd()))
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	defer func() {
		_, _ = io.WriteString(out, leaveScreen) // whatever it says, the terminal is given back
		err = errors.Join(err, xterm.Restore(int(in.Fd()), before))
	}()
	if _, err := io.WriteString(out, enterScreen); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	keys := make(chan byte)
	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	go readKeys(stop, in, keys) // ends with the next key or with the process: a read of a terminal cannot be called off
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	w.shoot(ctx)
	for n := 1; ; {
		if err := w.draw(out); err != nil {
			return err
		}
		if n == w.count {
			return w.last().err
		}
		select {
		case <-tick.C:
			w.shoot(ctx)
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

// draw puts the view on the whole screen.
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

// key does what a key says, and says whether that is to quit.
func (w *watch) key(ctx context.Context, key byte) (quit bool) {
	const ctrlC, escape, enter, erase, backspace = 3, 27, '\r', 127, 8
	w.said = ""
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
			w.said = w.turn(ctx, w.ask)
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

// turn pauses or resumes the relay, and says what came of it.
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
	return what + " noted: the relay sees it within a second or two"
}
