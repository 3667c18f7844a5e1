package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// writeReport writes the tables, between the markers of README.md, and what internal/figures draws.
func (rs *retentionSoak) writeReport(dir string) error {
	path := filepath.Join(dir, "README.md")
	if err := report.UpdatePage(path, report.Section{Name: "retention", Text: rs.tables()}); err != nil {
		return err
	}
	return rs.timeline().Write(filepath.Join(dir, "timeline.json"))
}

// writeSamples writes all samples as CSV.
func (rs *retentionSoak) writeSamples(dir string) error {
	var b strings.Builder
	b.WriteString("second,committed,pending,lag_ms,short_ms,long_ms,control_ms,catalog_bytes,others_dead")
	for _, family := range families {
		for _, column := range []string{"partitions", "filled", "heap_bytes", "index_bytes", "dead"} {
			b.WriteString("," + family + "_" + column)
		}
	}
	for _, p := range rs.samples {
		fmt.Fprintf(&b, "\n%.1f,%d,%d,%d,%d,%d,%d,%d,%d", p.At.Seconds(), p.Committed, p.Pending, p.Lag.Milliseconds(), p.Short.Milliseconds(),
			p.Long.Milliseconds(), p.Control.Milliseconds(), p.Catalog, p.Others)
		for _, f := range p.Family {
			fmt.Fprintf(&b, ",%d,%d,%d,%d,%d", f.Partitions, f.Filled, f.Heap, f.Indexes, f.Dead)
		}
	}
	return os.WriteFile(filepath.Join(dir, "samples.csv"), []byte(b.String()+"\n"), 0o644)
}

func (rs *retentionSoak) tables() string {
	r := &rs.result
	sizes := report.NewTable("lrrrrrrrrrr", "family", "ids in a partition", "created", "dropped", "largest", "second half: min", "max", "drift",
		"dead tuples, max", "counted at the end", "updates, deletes")
	for i, family := range families {
		f, size := r.Families[i], rs.partitionSize
		if family == "receipt" {
			size = receiptPartition
		}
		exact := "–"
		if f.Exact >= 0 {
			exact = fmt.Sprint(f.Exact)
		}
		sizes.Row(family, size, f.Made, f.Dropped, mib(f.Largest), mib(f.Min), mib(f.Max), mib(f.Drift), fmt.Sprintf("**%d**", f.Dead), exact, f.Changed)
	}
	pending := int64(0)
	for _, p := range rs.samples {
		pending = max(pending, p.Pending)
	}
	figures := report.NewTable("ll", "what", "how much")
	for _, line := range [][2]string{
		{"load", fmt.Sprintf("%s, %d events committed (%.0f a second), payload 200 bytes, kept for %s", rs.length, r.Events, float64(r.Events)/rs.length.Seconds(), rs.retention)},
		{"stream, consumed during the run", fmt.Sprintf("**%d lost, %d twice, %d reordered, %d misplaced**", rs.reader.lost, rs.reader.twice, rs.reader.reordered, rs.reader.misplaced)},
		{"rows in the table or dropped from it", fmt.Sprint(r.Rows)},
		{"relay killed (kill -9)", fmt.Sprintf("%d times; the next event was in the stream after %s", len(rs.kills), rs.s.row.recovery())},
		{"largest backlog in a sample", fmt.Sprintf("%d events", pending)},
		{"long transactions that write to the outbox", fmt.Sprintf("%d of %s, and one of %s that first reads all events", rs.load.committedLong[0].Load(), rs.retention/2, 5*rs.retention/2)},
		{"transactions that hold a snapshot", fmt.Sprintf("%d of %s", rs.load.committedLong[1].Load(), 2*rs.retention)},
		{"waits of more than " + waitLogged.String() + " for a lock on a table", "long transactions: " + r.Long.String() + "; writers: " + r.Short.String()},
		{"longest statement on the outbox", fmt.Sprintf("%d ms in a long transaction, %d ms in a short one", rs.load.long.most().Milliseconds(), rs.load.short.most().Milliseconds())},
		{"longest concurrent statement on another table", fmt.Sprintf("%d ms", rs.load.control.most().Milliseconds())},
		{"dead tuples in the other tables of the schema, at the end", fmt.Sprint(r.Others)},
		{"system catalogs, second half", mib(r.CatalogMin) + " to " + mib(r.CatalogMax)},
		{"versions", fmt.Sprintf("%s, %s, %d cores", r.Versions, runtime.Version(), runtime.NumCPU())},
	} {
		figures.Row(line[0], line[1])
	}
	return sizes.String() + "\n" + figures.String()
}

// String returns the number of waits and the longest one.
func (w lockWaits) String() string {
	if w.N == 0 {
		return "**none**"
	}
	return fmt.Sprintf("%d, the longest **%d ms**", w.N, w.Longest.Milliseconds())
}

// series is one curve of a plot.
type series struct {
	name string
	of   func(*sample) float64 // value in a sample
}

func size(i int, of func(familySize) int64) func(*sample) float64 {
	return func(p *sample) float64 { return float64(of(p.Family[i])) / (1 << 20) }
}

// timeline returns sizes, partitions and statement times over time.
func (rs *retentionSoak) timeline() *report.Timeline {
	heap := func(f familySize) int64 { return f.Heap }
	milliseconds := func(d func(*sample) time.Duration) func(*sample) float64 {
		return func(p *sample) float64 { return float64(d(p)) / float64(time.Millisecond) }
	}
	t := &report.Timeline{
		Minutes: rs.length.Minutes(), Mark: "relay killed", Shade: [2]float64{rs.load.report[0].Minutes(), rs.load.report[1].Minutes()},
		Shaded: fmt.Sprintf("one transaction holds\n the table for %s", 5*rs.retention/2),
	}
	for _, at := range rs.kills {
		t.Marks = append(t.Marks, at.Minutes())
	}
	for _, each := range []struct {
		title, unit string
		least       float64
		curves      []series
	}{
		{"Events: size of the table", "MiB", 1, []series{{"with indexes", size(0, familySize.bytes)}, {"heap", size(0, heap)}}},
		{"Plan and receipts: size with indexes", "MiB", 1, []series{{"batch", size(1, familySize.bytes)}, {"receipt", size(2, familySize.bytes)}}},
		{"Partitions with rows", "", 6, []series{
			{"event", func(p *sample) float64 { return float64(p.Family[0].Filled) }},
			{"batch", func(p *sample) float64 { return float64(p.Family[1].Filled) }},
			{"receipt", func(p *sample) float64 { return float64(p.Family[2].Filled) }}}},
		{"Longest statement in each interval", "ms", 100, []series{
			{"in the long transactions", milliseconds(func(p *sample) time.Duration { return p.Long })},
			{"in the writers", milliseconds(func(p *sample) time.Duration { return p.Short })},
			{"on another table", milliseconds(func(p *sample) time.Duration { return p.Control })}}},
	} {
		plot := report.TimelinePlot{Title: each.title, Unit: each.unit, Least: each.least}
		for _, c := range each.curves {
			curve := report.TimelineCurve{Name: c.name}
			for i := range rs.samples {
				curve.Minutes = append(curve.Minutes, rs.samples[i].At.Minutes())
				curve.Values = append(curve.Values, c.of(&rs.samples[i]))
			}
			plot.Curves = append(plot.Curves, curve)
		}
		t.Plots = append(t.Plots, plot)
	}
	return t
}
