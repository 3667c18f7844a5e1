package devstack_test

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// A fail-over loses the commits after Detach and keeps those before.
func TestStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{
		Dir: parent, Settings: map[string]string{"max_prepared_transactions": "7"},
	})
	standby, err := primary.Standby(t.Context())
	must(t, err)
	defer standby.Close()
	wantQuery(t, standby.URL(), "show max_prepared_transactions", "7")
	must(t, execute(t, primary.URL(), "create table kept as select 'streamed' as v"))
	must(t, standby.CatchUp(t.Context()))
	wantQuery(t, standby.URL(), "select v from kept", "streamed")
	if err := execute(t, standby.URL(), "update kept set v = 'written'"); err == nil {
		t.Error("UPDATE at a standby succeeded")
	}

	must(t, standby.Detach(t.Context()))
	wantQuery(t, primary.URL(), "with lost as (update kept set v = 'lost' returning v) select v from lost", "lost")
	wantQuery(t, standby.URL(), "select count(*)::text from pg_stat_wal_receiver", "0")
	for _, end := range []func() error{standby.Stop, func() error { return standby.Start(t.Context()) }, primary.Kill} {
		must(t, end())
	}
	must(t, standby.Promote(t.Context()))
	wantQuery(t, standby.URL(), "select v from kept", "streamed")
	if err := execute(t, standby.URL(), "update kept set v = 'written'"); err != nil {
		t.Error(err)
	}
	if err := standby.Promote(t.Context()); err == nil {
		t.Error("the second Promote succeeded")
	}
	must(t, standby.Close(), primary.Close())
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// A stopped standby catches up after its restart, even after checkpoints of the primary.
func TestStandbyCatchesUp(t *testing.T) {
	t.Parallel()
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	standby := devtest.OwnStandby(t, primary)
	must(t, standby.Kill())
	for _, sql := range []string{
		"create table missed as select 'found' as v", "select pg_switch_wal()", "checkpoint",
		"insert into missed values ('late')", "select pg_switch_wal()", "checkpoint",
	} {
		must(t, execute(t, primary.URL(), sql))
	}
	must(t, standby.Start(t.Context()))
	must(t, standby.CatchUp(t.Context()))
	wantQuery(t, standby.URL(), "select string_agg(v, ' ' order by v) from missed", "found late")
}

func TestStandbyErrors(t *testing.T) {
	t.Parallel()
	ours := devtest.Postgres(t)
	external, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: ours.URL()})
	must(t, err)
	_, err = external.Standby(t.Context())
	wantExternal(t, err)
	for verb, do := range map[string]func() error{
		"detach":   func() error { return ours.Detach(t.Context()) },
		"catch up": func() error { return ours.CatchUp(t.Context()) },
		"promote":  func() error { return ours.Promote(t.Context()) },
	} {
		if err := do(); err == nil {
			t.Errorf("%s of a primary succeeded", verb)
		}
	}
	wantQuery(t, ours.URL(), "select 'alive'", "alive")
}
