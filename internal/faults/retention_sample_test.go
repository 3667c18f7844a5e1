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
	lockTimeout = 50 * time.Millisecond  // of what makes and drops partitions
	waitLogged  = 75 * time.Millisecond  // PostgreSQL logs a wait for a lock that is longer
	waitMargin  = 500 * time.Millisecond // for a machine on which others work too
)

// families of partitions, as outbox.partition names them.
var families = [3]string{"event", "batch", "receipt"}

// sample is one look at the tables.
type sample struct {
	At          time.Duration
	Family      [3]familySize
	Others      int64 // dead tuples in the other tables of the schema
	Catalog     int64 // bytes of the system catalogs
	Committed   int64 // events
	Pending     int64
	Lag         time.Duration
	Short, Long time.Duration // the longest statement on the outbox since the sample before, of writers and of the long transaction
	Control     time.Duration // the longest on another table
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

// look takes a sample.
func (u *turnover) look(ctx context.Context) error {
	p := sample{At: time.Since(u.began), Committed: u.load.committed.Load(), Short: u.load.short.take(), Long: u.load.long.take(), Control: u.load.control.take()}
	rows, err := u.s.pool.Query(ctx, sizesSQL, u.s.table.Schema())
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
	if err := u.s.pool.QueryRow(ctx, othersSQL, u.s.table.Schema()).Scan(&p.Others, &p.Catalog); err != nil {
		return err
	}
	status, err := u.s.table.Status(ctx, u.s.pool, u.s.stream)
	if err != nil {
		return err
	}
	p.Pending, p.Lag = status.Pending, status.Lag
	u.samples = append(u.samples, p)
	return nil
}

// result is what came of all.
type result struct {
	Events, Rows           int64 // committed; in the table or dropped from it
	Families               [3]familyResult
	Others                 int64 // dead tuples in the other tables at the end
	Long, Short            waits // of long transactions and of writers
	Versions               string
	CatalogMin, CatalogMax int64 // in the second half
}

// waits for a lock on a table, those that were longer than waitLogged.
type waits struct {
	N       int
	Longest time.Duration
}

type familyResult struct {
	Made, Dropped int64
	Largest       int64 // bytes of the largest partition that was dropped
	Min, Max      int64 // bytes of the family, in the second half
	Drift         int64 // bytes, from the mean of the third quarter to that of the fourth
	Dead, Changed int64 // at the most, in any sample
	Exact         int64 // dead tuples at the end, counted in the table; -1 where that cannot be
}

// measure fills the result.
func (u *turnover) measure(t *testing.T) {
	t.Helper()
	ctx, r, s := t.Context(), &u.result, u.s
	r.Events = u.load.committed.Load() + 1 + int64(len(s.row.recoveries))
	s.must(s.pool.QueryRow(ctx, s.table.SQL(`SELECT (SELECT count(*) FROM outbox.event) + coalesce(sum(n), 0)::bigint FROM outbox.dropped WHERE family = 'event'`)).Scan(&r.Rows))
	exact := u.countsExactly(ctx)
	for i, family := range families {
		f := &r.Families[i]
		s.must(s.pool.QueryRow(ctx, s.table.SQL(`SELECT count(*), count(d.n), coalesce(max(d.bytes), 0) FROM outbox.partition p LEFT JOIN outbox.dropped d USING (family, from_key)
			WHERE family = $1`), family).Scan(&f.Made, &f.Dropped, &f.Largest))
		for _, p := range u.samples {
			f.Dead, f.Changed = max(f.Dead, p.Family[i].Dead), max(f.Changed, p.Family[i].Changed)
		}
		f.Min, f.Max, f.Drift = u.spread(func(p *sample) int64 { return p.Family[i].bytes() })
		f.Exact = -1
		if exact {
			s.must(s.pool.QueryRow(ctx, `SELECT coalesce(sum((pgstattuple(i.inhrelid)).dead_tuple_count), 0)::bigint FROM pg_inherits i WHERE i.inhparent = $1::text::regclass`,
				s.table.Schema()+"."+family).Scan(&f.Exact))
		}
	}
	r.Others = u.samples[len(u.samples)-1].Others
	r.CatalogMin, r.CatalogMax, _ = u.spread(func(p *sample) int64 { return p.Catalog })
	s.must(s.pool.QueryRow(ctx, "SELECT 'PostgreSQL ' || split_part(current_setting('server_version'), ' ', 1) || ' (fsync ' || current_setting('fsync') || ')'").Scan(&r.Versions))
	r.Versions += ", NATS " + s.nc.ConnectedServerVersion()
	u.waits()
}

// countsExactly says whether the server has what reads every tuple.
func (u *turnover) countsExactly(ctx context.Context) (has bool) {
	u.s.must(u.s.pool.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pgstattuple')").Scan(&has))
	if has {
		u.s.exec("CREATE EXTENSION IF NOT EXISTS pgstattuple")
	}
	return has
}

// spread is between what a size was in the second half of the load, and how it drifted there.
func (u *turnover) spread(of func(*sample) int64) (least, most, drift int64) {
	var sums, counts [2]int64
	for i := range u.samples {
		p := &u.samples[i]
		if p.At < u.length/2 || p.At > u.length {
			continue
		}
		n := of(p)
		if most == 0 {
			least = n
		}
		least, most = min(least, n), max(most, n)
		quarter := 0
		if p.At >= u.length*3/4 {
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

// waits reads from the server's log who waited how long for a lock on a table. Those who only write give themselves a name.
func (u *turnover) waits() {
	for _, m := range waited.FindAllStringSubmatch(u.serverLog(), -1) {
		ms, err := strconv.ParseFloat(m[2], 64)
		u.s.must(err)
		w := map[string]*waits{longName: &u.result.Long, shortName: &u.result.Short}[m[1]]
		if w == nil { // the relay, or a look at the tables
			continue
		}
		w.N++
		w.Longest = max(w.Longest, time.Duration(ms*float64(time.Millisecond)))
	}
}

// judgeSizes says whether the second half was flat: within what is due of each family at the most, and without drift.
//
// What is due: a partition is dropped whole, and a quarter of one comes while that is under way. It is kept from when the last
// of it was acknowledged, and that may be an event of a transaction that stayed open for long: half as long as events are kept. The
// plan follows the events, and has up to one partition more.
func (u *turnover) judgeSizes(t *testing.T) {
	t.Helper()
	if want := int(u.length / u.sample); len(u.samples) < want*8/10 {
		t.Errorf("%d samples were taken of %d", len(u.samples), want)
	}
	late := float64(u.rate) * (u.keep / 2).Seconds() / float64(u.partition) // partitions
	for i, family := range families {
		f := &u.result.Families[i]
		if f.Dropped < 3 {
			t.Errorf("%s: only %d partitions were dropped", family, f.Dropped)
		}
		partitions := map[string]float64{"event": 1.25 + late, "batch": 2.25 + late, "receipt": 1.25}[family]
		if most := int64(partitions*float64(f.Largest)) + 1<<17; f.Max-f.Min > most || max(f.Drift, -f.Drift) > f.Largest/2+1<<16 {
			t.Errorf("%s: %s to %s, drift %s, in the second half; want within %s, and drift at most %s",
				family, mib(f.Min), mib(f.Max), mib(f.Drift), mib(most), mib(f.Largest/2+1<<16))
		}
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// serverLog is what PostgreSQL has logged.
func (u *turnover) serverLog() string {
	u.s.t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(u.postgres.DataDir()), "postgres.log"))
	u.s.must(err)
	return string(text)
}
