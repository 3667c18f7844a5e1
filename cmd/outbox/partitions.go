package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func partitionsCommand() *cli.Command {
	return &cli.Command{
		Name: "partitions", Usage: "list the partitions of the outbox, how large they are, and which can be dropped", UsageText: "outbox partitions [flags]",
		Description: `Events, the plan and the receipts lie in partitions, which the relay makes ahead and drops when they are old: nothing is
deleted row by row. States: ahead (nothing in it yet), open (being filled), waiting (full, but something in it is not acknowledged
or not decided about), kept (younger than --retention), due (the relay drops it at its next look), emptied (dropped but
for its empty shell), net (the default partition, which should have no rows).

Examples:
  outbox partitions
  outbox partitions --retention 30d -o json`,
		Flags:  append(settingFlags("relay", "retention"), outputFlag()),
		Action: withSettings("relay", partitions),
	}
}

type partitionJSON struct {
	Family string    `json:"family"` // event, batch or receipt
	Name   string    `json:"name"`
	From   int64     `json:"from"` // the lowest number in it
	To     int64     `json:"to"`   // the first beyond it
	MadeAt time.Time `json:"made_at,omitzero"`
	State  string    `json:"state"`
	Why    string    `json:"why,omitempty"`
	DoneAt time.Time `json:"done_at,omitzero"` // when the last of it was acknowledged
	Bytes  int64     `json:"bytes"`
}

func partitions(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	all, err := tbl.Partitions(c.Context, pool, keptFor(s))
	if err != nil {
		return err
	}
	return printPartitions(c.App.Writer, asJSON, all, time.Now())
}

// keptFor is the retention; where everything is kept nothing is ever due.
func keptFor(s settings) time.Duration {
	if d := s.days("relay.retention"); d > 0 {
		return d
	}
	const ever = 100 * 365 * 24 * time.Hour
	return ever
}

func printPartitions(w io.Writer, asJSON bool, all []table.Partition, now time.Time) error {
	if asJSON {
		out := []partitionJSON{}
		for i := range all {
			out = append(out, partitionJSON(all[i]))
		}
		return printJSON(w, out)
	}
	var rows [][]string
	for i := range all {
		p := &all[i]
		numbers, done := "", p.Why
		if p.To > 0 {
			numbers = fmt.Sprintf("%d … %d", p.From, p.To-1)
		}
		if p.State == table.PartitionKept || p.State == table.PartitionDue {
			done = "done " + now.Sub(p.DoneAt).Round(time.Second).String() + " ago"
		}
		rows = append(rows, []string{p.Name, numbers, p.State, size(p.Bytes), done})
	}
	return printTable(w, []string{"PARTITION", "NUMBERS", "STATE", "SIZE", ""}, rows)
}

// size is a number of bytes for people.
func size(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, units := float64(n)/unit, "KMGTPE"
	for value >= unit && len(units) > 1 {
		value, units = value/unit, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", value, units[0])
}
