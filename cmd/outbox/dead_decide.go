package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/dead"
)

func deadReplayCommand() *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "insert copies of dead events into the outbox", UsageText: "outbox dead replay <filter>|--all [flags]",
		Description: `Inserts a copy of each event as a new row, in the order of dead list, and the relay publishes it like any other. The header
Outbox-Resend-Of of the copy names the original. Remove the cause first: an event that is rejected again becomes dead again.

The decision is recorded in the transaction that inserts the copy. Run an interrupted replay again: no event is replayed
twice. An event that cannot be inserted stays dead, its error is printed, and the exit code is 1.

Examples:
  outbox dead replay --reason no_stream --dry-run
  outbox dead replay --source dead-letters --subject 'orders.>' -o json | jq .replayed
  outbox dead replay --all`,
		Flags:  deadDecideFlags(),
		Action: action("invalidate", deadReplay),
	}
}

func deadDropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "drop dead events permanently", UsageText: "outbox dead drop <filter>|--all [flags]",
		Description: `Records that the events are dropped. Rows of parked events stay in the table. Dead letters are deleted from the dead-letter
stream, with the only copy of an event that the table no longer has. On a terminal it asks; elsewhere it requires --yes.

Examples:
  outbox dead drop --older-than 720h --dry-run
  outbox dead drop --source dead-letters --number 17 --yes
  outbox dead drop --all --yes -o json`,
		Flags:  append(deadDecideFlags(), &cli.BoolFlag{Name: "yes", Usage: "do not ask for confirmation"}),
		Action: action("invalidate", deadDrop),
	}
}

func deadDecideFlags() []cli.Flag {
	return deadFlags(0,
		&cli.BoolFlag{Name: "all", Usage: "all events of the source, if there is no filter"},
		&cli.BoolFlag{Name: "dry-run", Usage: "list the events, change nothing"})
}

// deadFirst is the number of events and subjects that a dry run prints.
const deadFirst = 10

func deadReplay(ctx context.Context, s *session) error {
	q, d, err := openDecision(ctx, s)
	if err != nil {
		return err
	}
	if s.c.Bool("dry-run") {
		return d.dryRun(ctx, q, "replay")
	}
	out, err := dead.In(s.table).Replay(ctx, s.pool, d.work(q, "replayed"))
	return errors.Join(d.printOutcome("replayed", out), s.blameNATS(err), unfinished("replayed", out))
}

func deadDrop(ctx context.Context, s *session) error {
	stdin, asks := term.IsTerminal(s.c.App.Reader)
	asks = asks && !s.c.Bool("yes")
	if !asks && !s.c.Bool("yes") && !s.c.Bool("dry-run") {
		return exit.Usagef(s.c, "missing --yes, because standard input is not a terminal; --dry-run lists the events")
	}
	q, d, err := openDecision(ctx, s)
	if err != nil {
		return err
	}
	if s.c.Bool("dry-run") {
		return d.dryRun(ctx, q, "drop")
	}
	if asks {
		if err := d.ask(ctx, q, stdin); err != nil {
			return err
		}
	}
	out, err := dead.In(s.table).Drop(ctx, s.pool, d.work(q, "dropped"))
	return errors.Join(d.printOutcome("dropped", out), s.blameNATS(err), unfinished("dropped", out))
}

// openDecision opens the sources of a decision. It returns a usage error without a filter and without --all.
func openDecision(ctx context.Context, s *session) (*deadQuery, *deadSources, error) {
	q, err := readDeadQuery(s.c)
	if err != nil {
		return nil, nil, err
	}
	if q.filter == (dead.Filter{}) && !s.c.Bool("all") {
		return nil, nil, exit.Usagef(s.c, "missing filter; want --event-id, --number, --reason, --subject, --older-than, --newer-than or --all; to see the events, run: outbox dead list")
	}
	d, err := openDead(ctx, s, &q, true)
	return &q, d, err
}

// work is the decision. It reports its progress every second.
func (d *deadSources) work(q *deadQuery, did string) dead.Work {
	printed := time.Now()
	return dead.Work{Filter: q.filter, Limit: q.limit, Sources: d.sources, Progress: func(out dead.Outcome) {
		if time.Since(printed) > time.Second {
			printed = time.Now()
			d.notef("%d %s so far\n", out.Done, did)
		}
	}}
}

// list returns the events of a decision, and their number, which is at most the limit.
func (d *deadSources) list(ctx context.Context, q *deadQuery) (dead.Listing, int, error) {
	list, err := dead.List(ctx, &q.filter, deadFirst, d.sources...)
	n := list.Total
	if q.limit > 0 {
		n = min(n, q.limit)
		list.First = list.First[:min(len(list.First), n)]
	}
	return list, n, d.blameNATS(err)
}

func (d *deadSources) ask(ctx context.Context, q *deadQuery, stdin io.Reader) error {
	_, n, err := d.list(ctx, q)
	if err != nil || n == 0 {
		return err
	}
	d.notef("drop %d events permanently? type yes: ", n)
	answer, err := bufio.NewReader(stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errors.New("not confirmed; nothing was dropped"), err)
	}
	return nil
}

type deadSubject struct {
	Subject string `json:"subject"`
	Events  int    `json:"events"`
}

func (d *deadSources) dryRun(ctx context.Context, q *deadQuery, would string) error {
	list, n, err := d.list(ctx, q)
	if err != nil {
		return err
	}
	subjects := []deadSubject{}
	for _, subject := range slices.Sorted(maps.Keys(list.Subjects)) {
		subjects = append(subjects, deadSubject{subject, list.Subjects[subject]})
	}
	slices.SortStableFunc(subjects, func(a, b deadSubject) int { return cmp.Compare(b.Events, a.Events) })
	return d.print(map[string]any{
		"dry_run": true, "total": n, "subjects": subjects, "other_subjects": list.Others, "items": newDeadItems(list.First),
	}, func(w io.Writer) error {
		if err := printf(w, "dry run, nothing changed: would %s %d events\n", would, n); err != nil || n == 0 {
			return err
		}
		var rows [][]string
		for _, s := range subjects[:min(len(subjects), deadFirst)] {
			rows = append(rows, []string{fmt.Sprint(s.Events), term.Plain(s.Subject)})
		}
		if err := term.Table(w, []string{"EVENTS", "SUBJECT"}, rows); err != nil {
			return err
		}
		if more := len(subjects) - len(rows); more > 0 || list.Others > 0 {
			if err := printf(w, "and more subjects; to see the events, run: outbox dead list\n"); err != nil {
				return err
			}
		}
		return printDead(w, list.First)
	})
}

type deadFailedJSON struct {
	deadJSON
	Error string `json:"error"`
}

func (d *deadSources) printOutcome(did string, out dead.Outcome) error {
	failed := []deadFailedJSON{}
	var rows [][]string
	for i := range out.Failed {
		f := &out.Failed[i]
		failed = append(failed, deadFailedJSON{newDeadJSON(&f.Event), f.Err.Error()})
		rows = append(rows, []string{f.Source, fmt.Sprint(f.Number), cmp.Or(failed[i].EventID, "-"), cmp.Or(term.Plain(f.Subject), "-"), term.Plain(f.Err.Error())})
	}
	return d.print(map[string]any{did: out.Done, "already": out.Already, "failed": failed}, func(w io.Writer) error {
		if err := printf(w, "%s %d events\n", did, out.Done); err != nil {
			return err
		}
		if out.Already > 0 {
			if err := printf(w, "%d already had a decision\n", out.Already); err != nil {
				return err
			}
		}
		if len(rows) == 0 {
			return nil
		}
		return term.Table(w, []string{"SOURCE", "NUMBER", "EVENT_ID", "SUBJECT", "ERROR"}, rows)
	})
}

// unfinished is the error if a decision left events.
func unfinished(did string, out dead.Outcome) error {
	if len(out.Failed) == 0 {
		return nil
	}
	f := &out.Failed[0]
	return fmt.Errorf("%d events were not %s; to see the first, run: outbox dead show --source %s --number %d; to give them up: outbox dead drop",
		len(out.Failed), did, f.Source, f.Number)
}
