package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func partitionsCommand() *cli.Command {
	return &cli.Command{
		Name: "partitions", Usage: "list the partitions, their size, and which can be dropped", UsageText: "outbox partitions [flags]",
		Description: `Events, the plan and the receipts are in partitions. The relay creates them ahead and drops old ones; it deletes no single
rows. States:

  ahead     empty, for later
  open      being filled
  waiting   full, and not all of it is acknowledged or decided about
  kept      all acknowledged, and younger than --retention
  due       the relay drops it next
  emptied   emptied, its table is not dropped yet
  default   the default partition, which should have no rows

Examples:
  outbox partitions
  outbox partitions --retention 30d -o json`,
		Flags:  append(setting.Flags("relay", "retention"), term.OutputFlag()),
		Action: action("relay", partitions),
	}
}

type partitionJSON struct {
	Family    string    `json:"family"` // event, batch or receipt
	Name      string    `json:"name"`
	From      int64     `json:"from"` // lowest number in it
	To        int64     `json:"to"`   // first number after it
	CreatedAt time.Time `json:"created_at,omitzero"`
	State     string    `json:"state"`
	Reason    string    `json:"reason,omitempty"`
	DoneAt    time.Time `json:"done_at,omitzero"` // when its last event was acknowledged
	Bytes     int64     `json:"bytes"`
}

func partitions(ctx context.Context, s *session) error {
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	all, err := s.table.Partitions(ctx, s.pool, retention(s.set))
	if err != nil {
		return err
	}
	out := make([]partitionJSON, len(all))
	for i := range all {
		out[i] = partitionJSON(all[i])
	}
	return s.print(out, func(w io.Writer) error { return printPartitions(w, all, time.Now()) })
}

// retention is that of the settings, or a century if events are kept indefinitely.
func retention(set *setting.Set) time.Duration {
	const century = 100 * 365 * 24 * time.Hour
	return cmp.Or(set.Days("relay.retention"), century)
}

func printPartitions(w io.Writer, all []table.Partition, now time.Time) error {
	var rows [][]string
	for i := range all {
		p := &all[i]
		numbers, done := "", p.Reason
		if p.To > 0 {
			numbers = fmt.Sprintf("%d … %d", p.From, p.To-1)
		}
		if p.State == table.PartitionKept || p.State == table.PartitionDue {
			done = "acknowledged " + now.Sub(p.DoneAt).Round(time.Second).String() + " ago"
		}
		rows = append(rows, []string{p.Name, numbers, p.State, term.Size(p.Bytes), done})
	}
	return term.Table(w, []string{"PARTITION", "NUMBERS", "STATE", "SIZE", ""}, rows)
}

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "drop the partitions that are due", UsageText: "outbox prune [--dry-run] [flags]",
		Description: `Drops each partition whose events were all acknowledged by the stream, or decided about, longer than --retention ago. It skips
a partition that a transaction uses, so nobody waits. The relay does the same every few seconds; use prune if no relay
runs, or to apply a shorter --retention once.

Examples:
  outbox prune --dry-run
  outbox prune --retention 48h -o json`,
		Flags: append(setting.Flags("relay", "retention"),
			&cli.BoolFlag{Name: "dry-run", Usage: "list the partitions that would be dropped, change nothing"},
			term.OutputFlag()),
		Action: action("relay", prune),
	}
}

type pruneJSON struct {
	DryRun     bool            `json:"dry_run"`
	Bytes      int64           `json:"bytes"` // freed
	Partitions []partitionJSON `json:"partitions"`
	Busy       []string        `json:"busy"` // skipped because a transaction uses them
}

func prune(ctx context.Context, s *session) error {
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	out := &pruneJSON{DryRun: s.c.Bool("dry-run"), Partitions: []partitionJSON{}, Busy: []string{}}
	err := out.drop(ctx, s)
	if err != nil && len(out.Partitions)+len(out.Busy) == 0 {
		return err
	}
	return errors.Join(s.print(out, out.print), err)
}

func (out *pruneJSON) drop(ctx context.Context, s *session) error {
	all, err := s.table.Partitions(ctx, s.pool, retention(s.set))
	if err != nil {
		return err
	}
	for i := range all {
		p := &all[i]
		if p.State != table.PartitionDue && p.State != table.PartitionEmptied {
			continue
		}
		if !out.DryRun {
			dropped, err := dropPartition(ctx, s, p)
			if errors.Is(err, table.ErrBusy) {
				out.Busy = append(out.Busy, p.Name)
			} else if err != nil {
				return err
			}
			if !dropped {
				continue
			}
		}
		out.Partitions = append(out.Partitions, partitionJSON(*p))
		out.Bytes += p.Bytes
	}
	return nil
}

// dropPartition reports whether the space was freed. The emptied table may be dropped later.
func dropPartition(ctx context.Context, s *session, p *table.Partition) (dropped bool, err error) {
	if p.State == table.PartitionDue {
		if dropped, err = s.table.EmptyPartition(ctx, s.pool, p.Name, retention(s.set)); err != nil || !dropped {
			return false, err
		}
	}
	if p.From == 0 && p.To == 0 || p.CreatedAt.IsZero() { // the default partition is only emptied
		return dropped, nil
	}
	gone, err := s.table.DropPartition(ctx, s.pool, p.Name)
	return dropped || gone, err
}

func (out *pruneJSON) print(w io.Writer) error {
	verb := "dropped"
	if out.DryRun {
		verb = "would drop"
	}
	var rows [][]string
	for _, p := range out.Partitions {
		rows = append(rows, []string{verb, p.Name, term.Size(p.Bytes)})
	}
	for _, name := range out.Busy {
		rows = append(rows, []string{"in use", name, "a transaction uses it; run outbox prune again"})
	}
	rows = append(rows, []string{fmt.Sprintf("%s %d partitions, %s", verb, len(out.Partitions), term.Size(out.Bytes))})
	return term.Table(w, nil, rows)
}
