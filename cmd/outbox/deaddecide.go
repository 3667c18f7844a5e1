package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
)

func deadReplayCommand() *cli.Command {
	return &cli.Command{
		Name: "replay", Usage: "put copies of events that wait into the outbox", UsageText: "outbox dead replay <filter>|--all [flags]",
		Description: `Inserts a copy of each event as a new row, which the relay publishes like any other; its header Outbox-Resend-Of names the
original. Mend the cause first: what is refused once more is parked once more, at a new position. The decision is kept in
the same transaction, so that a replay that was interrupted can be run again: none is replayed twice. Copies come in
the order in which the events wait. An event that cannot be inserted again is left and told, and the exit code is 1.

Examples:
  outbox dead replay --reason no_stream --dry-run
  outbox dead replay --place letters --subject 'orders.>' -o json | jq .replayed
  outbox dead replay --all`,
		Flags:  deadDecideFlags(),
		Action: withSettings("invalidate", deadReplay),
	}
}

func deadDropCommand() *cli.Command {
	return &cli.Command{
		Name: "drop", Usage: "give events that wait up for ever", UsageText: "outbox dead drop <filter>|--all [flags]",
		Description: `Records that the events are dropped. Rows of the outbox stay; letters are deleted from the dead-letter stream, and with
them what the table does not have. It asks on a terminal, and needs --yes elsewhere.

Examples:
  outbox dead drop --older-than 720h --dry-run
  outbox dead drop --place letters --number 17 --yes
  outbox dead drop --all --yes -o json`,
		Flags:  append(deadDecideFlags(), &cli.BoolFlag{Name: "yes", Usage: "do not ask"}),
		Action: withSettings("invalidate", deadDrop),
	}
}

func deadDecideFlags() []cli.Flag {
	return deadFlags(0,
		&cli.BoolFlag{Name: "all", Usage: "every event of the place, where no filter is given"},
		&cli.BoolFlag{Name: "dry-run", Usage: "say which events it would be, change nothing"})
}

// deadFirst is how many events and subjects a dry run shows.
const deadFirst = 10

func deadReplay(c *cli.Context, s settings) error {
	q, d, err := openDecision(c, s)
	if err != nil {
		return err
	}
	defer d.close()
	if c.Bool("dry-run") {
		return d.dryRun(c, q, "replay")
	}
	out, err := dead.In(d.table).Replay(c.Context, d.pool, d.work(c, q, "replayed"))
	return errors.Join(printOutcome(c, q, "replayed", out), d.blame(err), unfinished("replayed", out))
}

func deadDrop(c *cli.Context, s settings) error {
	stdin, asks := c.App.Reader.(*os.File)
	asks = asks && term.IsTerminal(int(stdin.Fd())) && !c.Bool("yes")
	if !asks && !c.Bool("yes") && !c.Bool("dry-run") {
		return usagef(c, "--yes missing: nobody can be asked, since standard input is no terminal; --dry-run says which events it would be")
	}
	q, d, err := openDecision(c, s)
	if err != nil {
		return err
	}
	defer d.close()
	if c.Bool("dry-run") {
		return d.dryRun(c, q, "drop")
	}
	if asks {
		if err := d.ask(c, q, stdin); err != nil {
			return err
		}
	}
	out, err := dead.In(d.table).Drop(c.Context, d.pool, d.work(c, q, "dropped"))
	return errors.Join(printOutcome(c, q, "dropped", out), d.blame(err), unfinished("dropped", out))
}

// openDecision opens the places of a decision, which has to say what it is about.
func openDecision(c *cli.Context, s settings) (*deadQuery, *deadPlaces, error) {
	q, err := readDeadQuery(c)
	if err != nil {
		return nil, nil, err
	}
	if q.filter == (dead.Filter{}) && !c.Bool("all") {
		return nil, nil, usagef(c, "a filter is missing (--event-id, --number, --reason, --subject, --older-than, --newer-than), or --all; outbox dead list shows the events")
	}
	d, err := openDead(c, s, &q, true)
	return &q, d, err
}

// work is the decision, which tells every second on standard error how far it is.
func (d *deadPlaces) work(c *cli.Context, q *deadQuery, did string) dead.Work {
	told := time.Now()
	return dead.Work{Filter: q.filter, Limit: q.limit, Sources: d.places, Progress: func(out dead.Outcome) {
		if time.Since(told) > time.Second {
			told = time.Now()
			fmt.Fprintf(c.App.ErrWriter, "%d %s so far\n", out.Done, did)
		}
	}}
}

// list is what a decision is about, at most as many as the limit says.
func (d *deadPlaces) list(c *cli.Context, q *deadQuery) (dead.Listing, int, error) {
	list, err := dead.List(c.Context, &q.filter, deadFirst, d.places...)
	n := list.Total
	if q.limit > 0 {
		n = min(n, q.limit)
		list.First = list.First[:min(len(list.First), n)]
	}
	return list, n, d.blame(err)
}

func (d *deadPlaces) ask(c *cli.Context, q *deadQuery, stdin *os.File) error {
	_, n, err := d.list(c, q)
	if err != nil || n == 0 {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "drop %d events for ever? type yes: ", n)
	answer, err := bufio.NewReader(stdin).ReadString('\n')
	if strings.TrimSpace(answer) != "yes" {
		return errors.Join(errors.New("not confirmed, nothing was dropped"), err)
	}
	return nil
}

type deadSubject struct {
	Subject string `json:"subject"`
	Events  int    `json:"events"`
}

func (d *deadPlaces) dryRun(c *cli.Context, q *deadQuery, would string) error {
	list, n, err := d.list(c, q)
	if err != nil {
		return err
	}
	subjects := []deadSubject{}
	for _, subject := range slices.Sorted(maps.Keys(list.Subjects)) {
		subjects = append(subjects, deadSubject{subject, list.Subjects[subject]})
	}
	slices.SortStableFunc(subjects, func(a, b deadSubject) int { return cmp.Compare(b.Events, a.Events) })
	if q.asJSON {
		return printJSON(c.App.Writer, map[string]any{
			"dry_run": true, "total": n, "subjects": subjects, "other_subjects": list.Others, "items": newDeadItems(list.First),
		})
	}
	fmt.Fprintf(c.App.Writer, "dry run, nothing changed: would %s %d events\n", would, n)
	if n == 0 {
		return nil
	}
	var rows [][]string
	for _, s := range subjects[:min(len(subjects), deadFirst)] {
		rows = append(rows, []string{fmt.Sprint(s.Events), plain(s.Subject)})
	}
	if err := printTable(c.App.Writer, []string{"EVENTS", "SUBJECT"}, rows); err != nil {
		return err
	}
	if more := len(subjects) - len(rows); more > 0 || list.Others > 0 {
		fmt.Fprintf(c.App.Writer, "and more subjects; outbox dead list shows the events\n")
	}
	return printDead(c.App.Writer, list.First)
}

type deadFailedJSON struct {
	deadJSON
	Error string `json:"error"`
}

func printOutcome(c *cli.Context, q *deadQuery, did string, out dead.Outcome) error {
	failed := []deadFailedJSON{}
	var rows [][]string
	for i := range out.Failed {
		f := &out.Failed[i]
		failed = append(failed, deadFailedJSON{newDeadJSON(&f.Event), f.Err.Error()})
		rows = append(rows, []string{f.Source, fmt.Sprint(f.Number), or(failed[i].EventID, "-"), or(plain(f.Subject), "-"), plain(f.Err.Error())})
	}
	if q.asJSON {
		return printJSON(c.App.Writer, map[string]any{did: out.Done, "already": out.Already, "failed": failed})
	}
	fmt.Fprintf(c.App.Writer, "%s %d events\n", did, out.Done)
	if out.Already > 0 {
		fmt.Fprintf(c.App.Writer, "%d were decided about before\n", out.Already)
	}
	if len(rows) == 0 {
		return nil
	}
	return printTable(c.App.Writer, []string{"PLACE", "ID", "EVENT_ID", "SUBJECT", "ERROR"}, rows)
}

// unfinished is the error that some events were left.
func unfinished(did string, out dead.Outcome) error {
	if len(out.Failed) == 0 {
		return nil
	}
	f := &out.Failed[0]
	return fmt.Errorf("%d events were not %s; run: outbox dead show --place %s --number %d, and give them up with outbox dead drop",
		len(out.Failed), did, f.Source, f.Number)
}
