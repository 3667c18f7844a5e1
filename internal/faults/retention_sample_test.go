package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	lockTimeout = 50 * time.Millisecond  // of the statements that create and drop partitions
	waitLogged  = 75 * time.Millisecond  // PostgreSQL logs longer waits for a lock
	waitMargin  = 500 * time.Millisecond // for a busy machine
)

// families of partitions, with their names in outbox.partition.
var families = [3]string{"event", "batch", "receipt"}

// sample is the state of the tables at one time.
type sample struct {
	At          time.Duration // since the start of the load
	Family      [3]familySize
	Others      int64 // dead tuples in the other tables of the schema
	Catalog     int64 // bytes of the system catalogs
	Committed   int64 // events
	Pending     int64
	Lag         time.Duration
	Short, Long time.Duration // the longest insert since the previous sample, of writers and of long transactions
	Control     time.Duration // the longest statement on another table since the previous sample
}

type familySize struct {
	Partitions, Filled int64
	Heap, Indexes      int64 // bytes
	Dead, Changed      int64 // dead tuples; rows updated or deleted
}

func (f familySize) bytes() int64 { return f.Heap + f.Indexes }

const sizesSQL = `
SELECT f.relname, count(*), count(*) FILTER (WHERE pg_relation_size(c.oid) > 0), coalesce(sum(pg_table_size(c.oid)), 0)::bigint,
       coalesce(sum(pg_indexes_size(c.oid)), 0)::bigint, coalesce(sum(s.n_dead_tup), 0)::bigint, coalesce(sum(s.n_tup_upd + s.n_tup_del), 0)::bigint
  FROM pg_class f JOIN pg_inherits i ON i.inhparent = f.oid JOIN pg_class c ON c.oid = i.inhrelid LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
 WHERE f.relnamespace = $1::text::regnamespace AND f.relkind = 'p' GROUP BY f.relname`

const othersSQL = `
SELECT coalesce(sum(s.n_dead_tup), 0)::bigint,
       (SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r')
  FROM pg_stat_user_tables s
 WHERE s.schemaname = $1::text AND s.relname <> 'account' AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = s.relid)`

// takeSample appends a sample.
func (rs *retentionSoak) takeSample(ctx context.Context) error {
	p := sample{At: time.Since(rs.began), Committed: rs.load.committed.Load(), Short: rs.load.short.take(), Long: rs.load.long.take(), Control: rs.load.control.take()}
	rows, err := rs.s.pool.Query(ctx, sizesSQL, rs.s.table.Schema())
	if err != nil {
		return err
	}
	var name string
	var f familySize
	_, err = pgx.ForEachRow(rows, []any{&name, &f.Partitions, &f.Filled, &f.Heap, &f.Indexes, &f.Dead, &f.Changed}, func() error {
		p.Family[slices.Index(families[:], name)] = f
		return nil
	})
	if err != nil {
		return err
	}
	if err := rs.s.pool.QueryRow(ctx, othersSQL, rs.s.table.Schema()).Scan(&p.Others, &p.Catalog); err != nil {
		return err
	}
	status, err := rs.s.table.Status(ctx, rs.s.pool, rs.s.stream)
	if err != nil {
		return err
	}
	p.Pending, p.Lag = status.Pending, status.Lag
	rs.samples = append(rs.samples, p)
	return nil
}

// result is the result of the whole run.
type result struct {
	Events, Rows           int64 // committed events; rows in the table or dropped from it
	Families               [3]familyResult
	Others                 int64     // dead tuples in the other tables at the end
	Long, Short            lockWaits // of long transactions and of writers
	Versions               string
	CatalogMin, CatalogMax int64 // in the second half
}

// lockWaits are the waits of more than waitLogged for a lock on a table.
type lockWaits struct {
	N       int
	Longest time.Duration
}

type familyResult struct {
	Made, Dropped int64
	Largest       int64 // bytes of the largest partition that was dropped
	Min, Max      int64 // bytes of the family, in the second half
	Drift         int64 // bytes, from the mean of the third quarter to that of the fourth
	Dead, Changed int64 // maxima of all samples
	Exact         int64 // dead tuples at the end, counted with pgstattuple; -1 if that is not available
}

// measure fills the result.
func (rs *retentionSoak) measure(t *testing.T) {
	t.Helper()
	ctx, r, s := t.Context(), &rs.result, rs.s
	r.Events = rs.load.committed.Load() + 1 + int64(len(s.row.recoveries))
	s.must(s.pool.QueryRow(ctx, s.table.SQL(`SELECT (SELECT count(*) FROM outbox.event) + coalesce(sum(n), 0)::bigint FROM outbox.dropped WHERE family = 'event'`)).Scan(&r.Rows))
	exact := rs.countsExactly(ctx)
	for i, family := range families {
		f := &r.Families[i]
		s.must(s.pool.QueryRow(ctx, s.table.SQL(`SELECT count(*), count(d.n), coalesce(max(d.bytes), 0) FROM outbox.partition p LEFT JOIN outbox.dropped d USING (family, from_key)
			WHERE family = $1`), family).Scan(&f.Made, &f.Dropped, &f.Largest))
		for _, p := range rs.samples {
			f.Dead, f.Changed = max(f.Dead, p.Family[i].Dead), max(f.Changed, p.Family[i].Changed)
		}
		f.Min, f.Max, f.Drift = rs.spread(func(p *sample) int64 { return p.Family[i].bytes() })
		f.Exact = -1
		if exact {
			s.must(s.pool.QueryRow(ctx, `SELECT coalesce(sum((pgstattuple(i.inhrelid)).dead_tuple_count), 0)::bigint FROM pg_inherits i WHERE i.inhparent = $1::text::regclass`,
				s.table.Schema()+"."+family).Scan(&f.Exact))
		}
	}
	r.Others = rs.samples[len(rs.samples)-1].Others
	r.CatalogMin, r.CatalogMax, _ = rs.spread(func(p *sample) int64 { return p.Catalog })
	s.must(s.pool.QueryRow(ctx, "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1) || ' (fsync ' || current_setting('fsync') || ')'").Scan(&r.Versions))
	r.Versions += ", NATS " + s.nc.ConnectedServerVersion()
	rs.readWaits()
}

// countsExactly installs the extension pgstattuple, which counts every tuple, and reports whether it is available.
func (rs *retentionSoak) countsExactly(ctx context.Context) (has bool) {
	rs.s.must(rs.s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgstattuple')").Scan(&has))
	if has {
		rs.s.exec("CREATE EXTENSION IF NOT EXISTS pgstattuple")
	}
	return has
}

// spread returns the minimum and maximum of a size in the second half of the load, and its drift: the mean of the
// fourth quarter minus that of the third.
func (rs *retentionSoak) spread(of func(*sample) int64) (least, most, drift int64) {
	var sums, counts [2]int64
	for i := range rs.samples {
		p := &rs.samples[i]
		if p.At < rs.length/2 || p.At > rs.length {
			continue
		}
		n := of(p)
		if most == 0 {
			least = n
		}
		least, most = min(least, n), max(most, n)
		quarter := 0
		if p.At >= rs.length*3/4 {
			quarter = 1
		}
		sums[quarter] += n
		counts[quarter]++
	}
	if counts[0] == 0 || counts[1] == 0 {
		return least, most, 0
	}
	return least, most, sums[1]/counts[1] - sums[0]/counts[0]
}

var waited = regexp.MustCompile(`(?m)^\[(.*)\] LOG:.* acquired \w+ on relation \d+ of database \d+ after ([0-9.]+) ms`)

// readWaits reads the waits for a lock on a table from the server's log. It distinguishes long transactions from
// writers by the name of the session.
func (rs *retentionSoak) readWaits() {
	for _, m := range waited.FindAllStringSubmatch(rs.serverLog(), -1) {
		ms, err := strconv.ParseFloat(m[2], 64)
		rs.s.must(err)
		w := map[string]*lockWaits{longName: &rs.result.Long, shortName: &rs.result.Short}[m[1]]
		if w == nil { // the relay, or the test itself
			continue
		}
		w.N++
		w.Longest = max(w.Longest, time.Duration(ms*float64(time.Millisecond)))
	}
}

// checkSizes requires that sizes in the second half of the run stay within a range for each family, and do not drift.
//
// The range of a family is one partition, because a partition is dropped whole, and a quarter for the events that are
// inserted meanwhile. The retention of a partition begins when its last event is acknowledged. That event may belong to
// a transaction that was open for half the retention, so events and plan may have the partitions of that time in
// addition. The plan may also be one partition behind the events.
func (rs *retentionSoak) checkSizes(t *testing.T) {
	t.Helper()
	if want := int(rs.length / rs.sampleEvery); len(rs.samples) < want*8/10 {
		t.Errorf("got %d samples, want at least 80%% of %d", len(rs.samples), want)
	}
	late := float64(rs.rate) * (rs.retention / 2).Seconds() / float64(rs.partitionSize) // partitions
	for i, family := range families {
		f := &rs.result.Families[i]
		if f.Dropped < 3 {
			t.Errorf("%s: got %d dropped partitions, want at least 3", family, f.Dropped)
		}
		partitions := map[string]float64{"event": 1.25 + late, "batch": 2.25 + late, "receipt": 1.25}[family]
		if most := int64(partitions*float64(f.Largest)) + 1<<17; f.Max-f.Min > most || max(f.Drift, -f.Drift) > f.Largest/2+1<<16 {
			t.Errorf("%s: got sizes from %s to %s and drift %s in the second half; want a range of at most %s and drift of at most %s",
				family, mib(f.Min), mib(f.Max), mib(f.Drift), mib(most), mib(f.Largest/2+1<<16))
		}
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// serverLog returns the log of PostgreSQL.
func (rs *retentionSoak) serverLog() string {
	rs.s.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(rs.postgres.DataDir()), "postgres.log"))
	rs.s.must(err)
	return string(text)
}
