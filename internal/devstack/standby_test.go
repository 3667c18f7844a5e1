package devstack_test

import (
	"errors"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

// A failover that loses the commits after Detach, and none before.
func TestStandbyIsPromoted(t *testing.T) {
	t.Parallel()
	parent := serverParent(t)
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{
		Dir: parent, Settings: map[string]string{"max_prepared_transactions": "7"},
	})
	standby, err := primary.Standby(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer standby.Close()
	wantQuery(t, standby.URL(), "show max_prepared_transactions", "7")
	if err := execute(t, primary.URL(), "create table kept as select 'streamed' as v"); err != nil {
		t.Fatal(err)
	}
	if err := standby.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantQuery(t, standby.URL(), "select v from kept", "streamed")
	if err := execute(t, standby.URL(), "update kept set v = 'written'"); err == nil {
		t.Error("a standby took a write")
	}

	if err := standby.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantQuery(t, primary.URL(), "with lost as (update kept set v = 'lost' returning v) select v from lost", "lost")
	wantQuery(t, standby.URL(), "select count(*)::text from pg_stat_wal_receiver", "0")
	for _, end := range []func() error{standby.Stop, func() error { return standby.Start(t.Context()) }, primary.Kill} {
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	if err := standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantQuery(t, standby.URL(), "select v from kept", "streamed")
	if err := execute(t, standby.URL(), "update kept set v = 'written'"); err != nil {
		t.Error(err)
	}
	if err := standby.Promote(t.Context()); err == nil {
		t.Error("promoted twice")
	}
	if err := errors.Join(standby.Close(), primary.Close()); err != nil {
		t.Fatal(err)
	}
	if err := empty(parent); err != nil {
		t.Error(err)
	}
}

// A stopped standby gets what it missed, also past a checkpoint of the primary.
func TestStandbyComesBack(t *testing.T) {
	t.Parallel()
	primary := devtest.OwnPostgres(t, devstack.PostgresConfig{})
	standby := devtest.OwnStandby(t, primary)
	if err := standby.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{
		"create table missed as select 'found' as v", "select pg_switch_wal()", "checkpoint",
		"insert into missed values ('late')", "select pg_switch_wal()", "checkpoint",
	} {
		if err := execute(t, primary.URL(), sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := standby.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := standby.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantQuery(t, standby.URL(), "select string_agg(v, ' ' order by v) from missed", "found late")
}

func TestStandbyErrors(t *testing.T) {
	t.Parallel()
	ours := devtest.Postgres(t)
	given, err := devstack.StartPostgres(t.Context(), devstack.PostgresConfig{URL: ours.URL()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := given.Standby(t.Context()); !errors.Is(err, devstack.ErrNotOurs) {
		t.Errorf("want ErrNotOurs, got %v", err)
	}
	for verb, do := range map[string]func() error{
		"detach":   func() error { return ours.Detach(t.Context()) },
		"catch up": func() error { return ours.CatchUp(t.Context()) },
		"promote":  func() error { return ours.Promote(t.Context()) },
	} {
		if err := do(); err == nil {
			t.Errorf("%s: a primary did", verb)
		}
	}
	wantQuery(t, ours.URL(), "select 'alive'", "alive")
}
