package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// filled runs a backfill to its end, in pages, and returns the job.
func filled(t testing.TB, tbl *table.Table, pool *pgxpool.Pool, q jobs.BackfillQuery, page int) *jobs.Job {
	t.Helper()
	job, err := jobs.In(tbl).StartBackfill(t.Context(), pool, &q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	runJob(t, tbl, pool, job, page)
	return job
}

func runJob(t testing.TB, tbl *table.Table, pool *pgxpool.Pool, job *jobs.Job, page int) {
	t.Helper()
	b := jobs.In(tbl).NewBackfill(job, func(string) {})
	err := jobs.In(tbl).Work(t.Context(), pool, job, jobs.Pace{MaxPending: -1, Page: page, Rate: -1}, func(ctx context.Context, n int) error {
		return b.Step(ctx, pool, n)
	}, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
}

// The events of a backfill are those of the capture trigger for the same rows.
func TestBackfillIsLikeCapture(t *testing.T) {
	tbl, pool, users := tabletest.Shop(t)
	session := tabletest.Session(t, tbl, pool)
	for _, a := range []outbox.Attachment{
		{Subject: "users.{id}.{op}"},
		{Subject: `mail.{e mail}`, Key: "{id}-x", Columns: []string{"n", "e mail"}, Watch: []string{"n"}},
		{Subject: "u.{id}", Operations: []outbox.Operation{outbox.OpUpdate}},
	} {
		a.Table = users
		tabletest.Run(t, pool, "TRUNCATE "+users, "INSERT INTO "+users+` SELECT g, nullif(g || '.é', '4.é'), 0, '{"a": [1]}' FROM generate_series(1, 7) g`)
		if _, err := tbl.Attach(t.Context(), pool, a, time.Second); err != nil {
			t.Fatal(err)
		}
		tabletest.Run(t, pool, "UPDATE "+users+" SET n = 5")
		want := tabletest.Captured(t, session)
		job := filled(t, tbl, pool, jobs.BackfillQuery{Table: users}, 3)
		tabletest.Expect(t, tabletest.Captured(t, session), want...)
		if job.Last.Events != 7 || job.Last.Scanned != 7 || job.Last.N != 3 {
			t.Errorf("%+v", job.Last)
		}
		tabletest.Run(t, pool, "DROP TABLE IF EXISTS pg_temp.none")
		if _, err := tbl.Detach(t.Context(), pool, users, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	tabletest.Run(t, pool, "TRUNCATE "+users, "INSERT INTO "+users+" VALUES (1), (2)")
	filled(t, tbl, pool, jobs.BackfillQuery{Table: users, Subject: "side.{id}.{op}", Columns: []string{"id"}, Op: "insert", Where: "id = 2 -- the second"}, 3)
	tabletest.Expect(t, tabletest.Captured(t, session), `side.2.inserted 2 insert {"id": 2}`)
}

// A backfill follows the order of any primary key, and takes each row once, whatever the size of a page.
func TestBackfillKeys(t *testing.T) {
	tbl, pool, _ := tabletest.Shop(t)
	own := "shop_" + tbl.Schema()
	tabletest.Run(t, pool, "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public", "SET search_path = public; SET timezone = 'Asia/Kolkata'; SET datestyle = 'SQL, DMY'",
		fmt.Sprintf("CREATE TYPE %s.size AS ENUM ('small', 'large'); CREATE DOMAIN %[1]s.mail AS public.citext", own))
	for name, c := range map[string]struct{ columns, key, rows string }{
		"int":         {"a int", "a", "SELECT g - 10"},
		"text":        {`a text COLLATE "C"`, "a", `SELECT CASE g WHEN 1 THEN '' WHEN 2 THEN ' ' WHEN 3 THEN '''"\' WHEN 4 THEN 'é' WHEN 5 THEN E'a\nb' ELSE 'x' || g END`},
		"linguistic":  {`a text COLLATE "en-x-icu"`, "a", `SELECT CASE g % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'A' ELSE '-' END || g`},
		"varchar":     {"a varchar(9)", "a", "SELECT 'x' || g"},
		"char":        {"a char(9)", "a", "SELECT 'x' || g"},
		"uuid":        {"a uuid", "a", "SELECT gen_random_uuid()"},
		"timestamptz": {"a timestamptz", "a", "SELECT CASE g WHEN 1 THEN '-infinity' WHEN 2 THEN '0044-03-15 BC'::timestamptz ELSE '2026-10-25 00:00+00'::timestamptz + g * interval '17 min 0.000001 s' END"},
		"timestamp":   {"a timestamp", "a", "SELECT '2026-02-03 00:00'::timestamp + g * interval '1 day'"},
		"numeric":     {"a numeric", "a", "SELECT CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN 1e30 ELSE g / 7.0 END"},
		"float":       {"a float8", "a", "SELECT CASE g WHEN 1 THEN 'NaN' WHEN 2 THEN '-Infinity' ELSE g / 7.0 END"},
		"interval":    {"a interval", "a", "SELECT g * interval '1 day 3 s' - interval '20 day'"},
		"bytea":       {"a bytea", "a", `SELECT decode(to_hex(g + 4096), 'hex')`},
		"bool":        {"a bool, b int", "a, b", "SELECT g % 2 = 0, g"},
		"range":       {"a tstzrange", "a", "SELECT tstzrange('2026-10-25'::timestamptz + g * interval '1 h', NULL)"},
		"array":       {"a int[]", "a", "SELECT ARRAY[g % 5, NULL, g]"},
		"inet":        {"a inet", "a", "SELECT ('10.0.0.' || g)::inet"},
		"enum":        {"a " + own + ".size, b int", "a, b", "SELECT (ARRAY['small', 'large'])[1 + g % 2]::" + own + ".size, g"},
		"domain":      {"a " + own + ".mail", "a", "SELECT g || 'X'"},
		"citext":      {"a int, b public.citext", "a, b", "SELECT g % 3, CASE g % 2 WHEN 0 THEN 'a' ELSE 'B' END || g"},
		"composite":   {`"the a" int, b text COLLATE "C", c int`, `b, "the a"`, "SELECT g % 4, 'x' || (g % 5), g"},
		"including":   {"a int, b int, PRIMARY KEY (a) INCLUDE (b)", "", "SELECT g, 0"},
		"reordered":   {"b int, a int", "a, b", "SELECT g, g % 3"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.key != "" {
				c.columns += ", PRIMARY KEY (" + c.key + ")"
			}
			tabletest.Run(t, pool, fmt.Sprintf("CREATE TABLE %s.keyed (%s)", own, c.columns), fmt.Sprintf("INSERT INTO %s.keyed %s FROM generate_series(1, 20) g", own, c.rows),
				tbl.SQL("TRUNCATE outbox.event"))
			for _, q := range []jobs.BackfillQuery{{}, {Where: "true"}} {
				q.Table, q.Subject = own+".keyed", "k.x"
				job := filled(t, tbl, pool, q, 3)
				if job.Last.Events != 20 || job.Last.Scanned != 20 {
					t.Errorf("%+v", job.Last)
				}
			}
			tabletest.InTx(t, pool, func(ctx context.Context, tx pgx.Tx) {
				var same bool
				if _, err := tx.Exec(ctx, "SET LOCAL datestyle = 'ISO'"); err != nil {
					t.Fatal(err)
				}
				err := tx.QueryRow(ctx, tbl.SQL(fmt.Sprintf(`SELECT (SELECT array_agg(convert_from(payload, 'UTF8')::jsonb ORDER BY id) FROM outbox.event) =
					array_cat(rows, rows) FROM (SELECT array_agg(to_jsonb(k) ORDER BY %s) AS rows FROM %s.keyed k) w`, orText(c.key, "a"), own))).Scan(&same)
				if err != nil || !same {
					t.Errorf("not each row twice, in the order of the key: %v", err)
				}
			})
			tabletest.Run(t, pool, fmt.Sprintf("DROP TABLE %s.keyed", own))
		})
	}
}

func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// Partitioned tables, dropped columns, child tables, limits and conditions.
func TestBackfillTables(t *testing.T) {
	tbl, pool, users := tabletest.Shop(t)
	own, _, _ := strings.Cut(users, ".")
	session := tabletest.Session(t, tbl, pool)
	tabletest.Run(t, pool, fmt.Sprintf("CREATE TABLE %s.parts (gone int, at int, id int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at); ALTER TABLE %[1]s.parts DROP COLUMN gone", own),
		fmt.Sprintf("CREATE TABLE %s.p1 PARTITION OF %[1]s.parts FOR VALUES FROM (0) TO (10); CREATE TABLE %[1]s.p2 PARTITION OF %[1]s.parts DEFAULT", own),
		fmt.Sprintf("INSERT INTO %s.parts SELECT g, 30 - g FROM generate_series(1, 29) g", own))
	if _, err := tbl.Attach(t.Context(), pool, outbox.Attachment{Table: own + ".parts", Subject: "p.{id}"}, time.Second); err != nil {
		t.Fatal(err)
	}
	job := filled(t, tbl, pool, jobs.BackfillQuery{Table: own + ".parts", Where: "id % 2 = 0", Limit: 5}, 2)
	tabletest.Expect(t, tabletest.Captured(t, session), `p.2 2.28 update {"at": 28, "id": 2}`, `p.4 4.26 update {"at": 26, "id": 4}`, `p.6 6.24 update {"at": 24, "id": 6}`,
		`p.8 8.22 update {"at": 22, "id": 8}`, `p.10 10.20 update {"at": 20, "id": 10}`)
	if job.Last.Scanned != 10 || !job.Last.Done {
		t.Errorf("%+v", job.Last)
	}
	tabletest.Run(t, pool, fmt.Sprintf("CREATE TABLE %s.parent (id int PRIMARY KEY); CREATE TABLE %[1]s.child () INHERITS (%[1]s.parent); INSERT INTO %[1]s.parent VALUES (1); INSERT INTO %[1]s.child VALUES (2)", own))
	filled(t, tbl, pool, jobs.BackfillQuery{Table: own + ".parent", Subject: "c.{id}"}, 2)
	tabletest.Expect(t, tabletest.Captured(t, session), `c.1 1 update {"id": 1}`) // as in a trigger
	tabletest.Run(t, pool, fmt.Sprintf("DELETE FROM %s.parent", own))
	if job := filled(t, tbl, pool, jobs.BackfillQuery{Table: own + ".parent", Subject: "c.{id}"}, 2); job.Last.N != 1 || job.Last.Events != 0 {
		t.Errorf("of an empty table: %+v", job.Last)
	}

	// If few rows meet the condition, a step ends after it has read a limited number of rows.
	tabletest.Run(t, pool, "INSERT INTO "+users+" SELECT g FROM generate_series(1, 1000) g")
	job = filled(t, tbl, pool, jobs.BackfillQuery{Table: users, Subject: "u.{id}", Columns: []string{"id"}, Where: "id >= 999"}, 4)
	tabletest.Expect(t, tabletest.Captured(t, session), `u.999 999 update {"id": 999}`, `u.1000 1000 update {"id": 1000}`)
	if job.Last.N < 1000/16/4 || job.Last.Scanned != 1000 {
		t.Errorf("%+v", job.Last)
	}
	look, err := jobs.In(tbl).PreviewBackfill(t.Context(), pool, &jobs.BackfillQuery{Table: users, Subject: "u.{id}", Columns: []string{"id"}, Where: "id >= 999"})
	if err != nil || look.Rows != 2 || look.First.Subject != "u.999" || look.First.Key != "999" || string(look.First.Payload) != `{"id": 999}` || look.Total == 0 {
		t.Errorf("look: %+v, %v", look, err)
	}
	tabletest.Run(t, pool, "ALTER TABLE "+users+" DROP CONSTRAINT \"User s_pkey\", ADD PRIMARY KEY (n, id)")
	job.Last.Done = false
	if err := jobs.In(tbl).BackfillStep(t.Context(), pool, job, 4, false); err == nil || !strings.Contains(err.Error(), "primary key") {
		t.Errorf("with another primary key: %v", err)
	}
}

func TestBackfillErrors(t *testing.T) {
	tbl, pool, users := tabletest.Shop(t)
	own, _, _ := strings.Cut(users, ".")
	tabletest.Run(t, pool, fmt.Sprintf("CREATE TABLE %s.bare (id int); CREATE VIEW %[1]s.seen AS SELECT 1 AS id; INSERT INTO %s VALUES (1)", own, users))
	for _, c := range []struct {
		q    jobs.BackfillQuery
		want string
	}{
		{jobs.BackfillQuery{Table: "nowhere"}, "does not exist"},
		{jobs.BackfillQuery{Table: users}, "is not attached"},
		{jobs.BackfillQuery{Table: own + ".bare", Subject: "b.{id}"}, "has no primary key"},
		{jobs.BackfillQuery{Table: own + ".seen", Subject: "b.{id}"}, "not a table"},
		{jobs.BackfillQuery{Table: tbl.SQL("outbox.event"), Subject: "b.{id}"}, "belongs to the outbox"},
		{jobs.BackfillQuery{Table: users, Subject: "u..{id}"}, "literal tokens"},
		{jobs.BackfillQuery{Table: users, Subject: "u.{nope}"}, `column "nope"`},
		{jobs.BackfillQuery{Table: users, Subject: "u", Columns: []string{"nope"}}, `no column "nope"`},
		{jobs.BackfillQuery{Table: users, Subject: "u", Op: "delete"}, "insert or update"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "id = "}, "syntax error"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "nope = 1"}, `"nope" does not exist`},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "id"}, "must be type boolean"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "count(*) > 1"}, "aggregate functions are not allowed"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "id > $1"}, "no parameter $1"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "true; DELETE FROM " + users}, ""},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "true); DELETE FROM " + users + " WHERE (true"}, ""},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "false) OR (true"}, "syntax error"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "true LIMIT 1"}, "syntax error"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "true UNION SELECT"}, "syntax error"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "SELECT true"}, "syntax error"},
		{jobs.BackfillQuery{Table: users, Subject: "u", Where: "true /*"}, "unterminated"},
	} {
		_, err := jobs.In(tbl).StartBackfill(t.Context(), pool, &c.q)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, outbox.ErrNotMigrated) {
			t.Errorf("%+v: got %v, want %q", c.q, err, c.want)
		}
	}
	var n int
	if err := pool.QueryRow(t.Context(), tbl.SQL("SELECT (SELECT count(*) FROM outbox.job) * 10 + (SELECT count(*) FROM "+users+")")).Scan(&n); err != nil || n != 1 {
		t.Errorf("after refusals: %d, %v; want no job, and the row", n, err)
	}
}

// The error names the row that exceeds the limits of an event. The rows before it have their events.
func TestBackfillOfARowThatExceedsTheLimits(t *testing.T) {
	tbl, pool, users := tabletest.Shop(t)
	tabletest.Run(t, pool, "INSERT INTO "+users+` SELECT g, repeat('é', CASE g WHEN 38 THEN 400 ELSE 1 END) FROM generate_series(1, 50) g`)
	q := jobs.BackfillQuery{Table: users, Subject: "u.x", Key: "{e mail}"}
	job, err := jobs.In(tbl).StartBackfill(t.Context(), pool, &q)
	if err != nil {
		t.Fatal(err)
	}
	b := jobs.In(tbl).NewBackfill(job, func(string) {})
	err = jobs.In(tbl).Work(t.Context(), pool, job, jobs.Pace{MaxPending: -1, Rate: -1}, func(ctx context.Context, n int) error { return b.Step(ctx, pool, n) }, func(string) {})
	if err == nil || !strings.Contains(err.Error(), "key_is_a_header_value") || !strings.Contains(err.Error(), "the row after key (37) exceeds the limits of an event; start a new backfill that excludes it (--where)") || job.Last.Events != 37 {
		t.Errorf("%v, %+v", err, job.Last)
	}
	q.Where = `length("e mail") < 100`
	if job := filled(t, tbl, pool, q, 10); job.Last.Events != 49 {
		t.Errorf("%+v", job.Last)
	}
}
