package main

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func pruneCommand() *cli.Command {
	return &cli.Command{
		Name: "prune", Usage: "drop the partitions that are due now, as the relay does by itself", UsageText: "outbox prune [--dry-run] [flags]",
		Description: `Drops whole partitions whose events were all acknowledged by the stream, or decided about, longer ago than --retention. A
partition that a transaction uses is left for the next time: nobody waits. The relay does the same every few seconds, so
this is for an outbox without one, or for a shorter --retention once.

Examples:
  outbox prune --dry-run
  outbox prune --retention 48h -o json`,
		Flags: append(settingFlags("relay", "retention"),
			&cli.BoolFlag{Name: "dry-run", Usage: "only list what would be dropped"},
			outputFlag()),
		Action: withSettings("relay", prune),
	}
}

type pruneJSON struct {
	DryRun     bool            `json:"dry_run"`
	Bytes      int64           `json:"bytes"` // given back
	Partitions []partitionJSON `json:"partitions"`
	Busy       []string        `json:"busy"` // left for the next time: a transaction uses them
}

func prune(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	out := pruneJSON{DryRun: c.Bool("dry-run"), Partitions: []partitionJSON{}, Busy: []string{}}
	err = out.prune(c, s, tbl, pool)
	if err != nil && len(out.Partitions)+len(out.Busy) == 0 {
		return err
	}
	if asJSON {
		return errors.Join(printJSON(c.App.Writer, out), err)
	}
	return errors.Join(out.print(c), err)
}

func (out *pruneJSON) prune(c *cli.Context, s settings, tbl *table.Table, pool *pgxpool.Pool) error {
	all, err := tbl.Partitions(c.Context, pool, keptFor(s))
	if err != nil {
		return err
	}
	for i := range all {
		p := &all[i]
		if p.State != table.PartitionDue && p.State != table.PartitionEmptied {
			continue
		}
		if !out.DryRun {
			dropped, err := dropPartition(c, s, tbl, pool, p)
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

// dropPartition says whether the space was given back; the empty shell may stay for the next time.
func dropPartition(c *cli.Context, s settings, tbl *table.Table, pool *pgxpool.Pool, p *table.Partition) (dropped bool, err error) {
	if p.State == table.PartitionDue {
		if dropped, err = tbl.EmptyPartition(c.Context, pool, p.Name, keptFor(s)); err != nil || !dropped {
			return false, err
		}
	}
	if p.From == 0 && p.To == 0 || p.MadeAt.IsZero() { // the net stays
		return dropped, nil
	}
	gone, err := tbl.DropPartition(c.Context, pool, p.Name)
	return dropped || gone, err
}

func (out *pruneJSON) print(c *cli.Context) error {
	verb := "dropped"
	if out.DryRun {
		verb = "would drop"
	}
	var rows [][]string
	for _, p := range out.Partitions {
		rows = append(rows, []string{verb, p.Name, size(p.Bytes)})
	}
	for _, name := range out.Busy {
		rows = append(rows, []string{"in use", name, "a transaction holds it; run outbox prune again"})
	}
	rows = append(rows, []string{fmt.Sprintf("%s %d partitions, %s", verb, len(out.Partitions), size(out.Bytes))})
	return printTable(c.App.Writer, nil, rows)
}
