package dead_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/dead"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A yard is an outbox with parked events.
type yard struct {
	t     *testing.T
	table *table.Table
	pool  *pgxpool.Pool
}

func newYard(t *testing.T) *yard {
	t.Parallel()
	y := &yard{t: t}
	y.table, y.pool = tabletest.New(t)
	return y
}

// park inserts events, plans them, and parks each with its own reason: reason-0, reason-1, …
func (y *yard) park(events ...event.Event) []table.Planned {
	y.t.Helper()
	if _, err := y.table.InsertAndCommit(y.t.Context(), y.pool, events...); err != nil {
		y.t.Fatal(err)
	}
	return y.parkPlanned()
}

func (y *yard) parkPlanned() []table.Planned {
	y.t.Helper()
	planned, err := tabletest.Session(y.t, y.table, y.pool).Plan(y.t.Context(), table.Page{Events: 10_000, Bytes: 1 << 30})
	if err != nil {
		y.t.Fatal(err)
	}
	for i := range planned {
		if err := y.table.Park(y.t.Context(), y.pool, &planned[i], fmt.Sprintf("reason-%d", i), "why "+planned[i].Subject, "relay-1"); err != nil {
			y.t.Fatal(err)
		}
	}
	return planned
}

func (y *yard) open() *dead.Parked {
	y.t.Helper()
	p, err := dead.In(y.table).OpenParked(y.t.Context(), y.pool)
	if err != nil {
		y.t.Fatal(err)
	}
	return p
}

func (y *yard) list(f dead.Filter) dead.Listing {
	y.t.Helper()
	list, err := dead.List(y.t.Context(), &f, 0, y.open())
	if err != nil {
		y.t.Fatal(err)
	}
	return list
}

func (y *yard) work(sources ...dead.Source) dead.Work {
	y.t.Helper()
	if len(sources) == 0 {
		sources = []dead.Source{y.open()}
	}
	return dead.Work{Sources: sources}
}

func (y *yard) replay(w dead.Work) dead.Outcome {
	y.t.Helper()
	out, err := dead.In(y.table).Replay(y.t.Context(), y.pool, w)
	if err != nil {
		y.t.Fatal(err)
	}
	return out
}

// copies returns the events that replays inserted, in order.
func (y *yard) copies() []event.Event {
	y.t.Helper()
	rows, err := y.pool.Query(y.t.Context(), y.table.SQL(`SELECT event_id::text, subject, coalesce(key, ''), payload, coalesce(headers->>'Trace', ''), resend_of::text
		FROM outbox.event WHERE resend_of IS NOT NULL ORDER BY id`))
	if err != nil {
		y.t.Fatal(err)
	}
	copies, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e event.Event, err error) {
		var id, original, trace string
		if err := row.Scan(&id, &e.Subject, &e.Key, &e.Payload, &trace, &original); err != nil {
			return e, err
		}
		e.ID, e.ResendOf = uuid.MustParse(id), uuid.MustParse(original)
		if trace != "" {
			e.Headers = map[string]string{"Trace": trace}
		}
		return e, nil
	})
	if err != nil {
		y.t.Fatal(err)
	}
	return copies
}

func (y *yard) one(query string, args ...any) (text string) {
	y.t.Helper()
	if err := y.pool.QueryRow(y.t.Context(), y.table.SQL(query), args...).Scan(&text); err != nil {
		y.t.Fatal(err)
	}
	return text
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func deadEvent(i int) event.Event {
	return event.Event{Subject: fmt.Sprintf("users.%d.updated", i), Key: fmt.Sprint(i % 7), Payload: fmt.Appendf(nil, `{"n":%d}`, i),
		Headers: map[string]string{"Trace": fmt.Sprint(i)}}
}

func TestDeadFilters(t *testing.T) {
	y := newYard(t)
	parked := y.park(deadEvent(0), deadEvent(1), event.Event{Subject: "orders.1"}, event.Event{Subject: "a+b.(c)"})
	if err := y.table.Park(t.Context(), y.pool, &table.Planned{Event: event.Event{ID: uuid.New(), Subject: "users.9.updated", Position: 99}},
		table.ReasonDisplaced, "", ""); err != nil {
		t.Fatal(err)
	}
	subject := func(pattern string) dead.Filter {
		expression, err := event.SubjectPattern(pattern)
		if err != nil {
			t.Fatal(err)
		}
		return dead.Filter{Subject: expression}
	}
	for name, c := range map[string]struct {
		filter dead.Filter
		want   []int64
	}{
		"everything but displaced": {dead.Filter{}, []int64{1, 2, 3, 4}},
		"number":                   {dead.Filter{Number: 3}, []int64{3}},
		"event id":                 {dead.Filter{EventID: parked[1].ID}, []int64{2}},
		"reason":                   {dead.Filter{Reason: "reason-2"}, []int64{3}},
		"part of the detail":       {dead.Filter{Reason: "y orders"}, []int64{3}},
		"no such reason":           {dead.Filter{Reason: "reason-"}, nil},
		"one token":                {subject("users.*.updated"), []int64{1, 2}},
		"the rest":                 {subject("users.>"), []int64{1, 2}},
		"too few tokens":           {subject("*.*"), []int64{3, 4}},
		"letters of expressions":   {subject("a+b.(c)"), []int64{4}},
		"since":                    {dead.Filter{From: time.Now().Add(-time.Hour)}, []int64{1, 2, 3, 4}},
		"since tomorrow":           {dead.Filter{From: time.Now().Add(time.Hour)}, nil},
		"until yesterday":          {dead.Filter{Until: time.Now().Add(-time.Hour)}, nil},
	} {
		var got []int64
		for _, d := range y.list(c.filter).First {
			got = append(got, d.Number)
			if !c.filter.Matches(&d) { // Go and SQL must agree
				t.Errorf("%s: Takes does not take %d", name, d.Number)
			}
		}
		equal(t, name, got, c.want)
	}
	for _, bad := range []string{"", "a..b", "a.>.b", "a*", "a b", "a\xff"} {
		if _, err := event.SubjectPattern(bad); !errors.Is(err, event.ErrInvalid) {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
	d := y.list(dead.Filter{Number: 1}).First[0]
	equal(t, "dead", []any{d.Source, d.ID, d.Subject, d.Key, d.Reason, d.Detail, d.By, d.Size},
		[]any{"parked", parked[0].ID, "users.0.updated", "0", "reason-0", "why users.0.updated", "relay-1", len(parked[0].Payload)})
	if age := time.Since(d.Since); age < 0 || age > time.Minute {
		t.Errorf("age %v", age)
	}
}

func TestOpenParkedWithoutSchema(t *testing.T) {
	t.Parallel()
	tbl, err := table.In("nowhere")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.In(tbl).OpenParked(t.Context(), devtest.Pool(t)); !errors.Is(err, outbox.ErrNotMigrated) {
		t.Errorf("%v", err)
	}
}
