package outbox_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table/tabletest"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func TestCapture(t *testing.T) {
	table, pool, users := tabletest.Shop(t)
	session := tabletest.Session(t, table, pool)
	attach := func(a outbox.Attachment) {
		t.Helper()
		a.Table = users
		if _, err := table.Attach(t.Context(), pool, a, time.Second); err != nil {
			t.Fatal(err)
		}
	}
	attach(outbox.Attachment{Subject: "users.{id}.{op}"})
	tabletest.Run(t, pool, "INSERT INTO "+users+` VALUES (1, 'a@b.c'), (2, NULL)`)
	tabletest.Expect(t, tabletest.Captured(t, session),
		`users.1.inserted 1 insert {"n": 0, "o": {}, "id": 1, "e mail": "a@b.c"}`,
		`users.2.inserted 2 insert {"n": 0, "o": {}, "id": 2, "e mail": null}`)

	tabletest.Run(t, pool, "UPDATE "+users+" SET n = n")
	tabletest.Expect(t, tabletest.Captured(t, session)) // changed nothing
	tabletest.Run(t, pool, "UPDATE "+users+" SET n = 5 WHERE id = 1", "DELETE FROM "+users+" WHERE id = 2")
	tabletest.Expect(t, tabletest.Captured(t, session),
		`users.1.updated 1 update {"n": 5, "o": {}, "id": 1, "e mail": "a@b.c"}`,
		`users.2.deleted 2 delete {"n": 0, "o": {}, "id": 2, "e mail": null}`)

	tabletest.Run(t, pool, "UPDATE "+users+" SET id = 9 WHERE id = 1") // an event on each of the two subjects
	tabletest.Expect(t, tabletest.Captured(t, session),
		`users.9.updated 9 update {"n": 5, "o": {}, "id": 9, "e mail": "a@b.c"}`,
		`users.1.updated 1 update {"n": 5, "o": {}, "id": 1, "e mail": "a@b.c"}`)

	// Each value becomes one token, the payload has the named columns, and only updates of the watched column count.
	attach(outbox.Attachment{Subject: `mail.{e mail}`, Key: "{id}", Columns: []string{"n", "e mail"}, Watch: []string{"n"}, Operations: []outbox.Operation{outbox.OpUpdate}})
	tabletest.Run(t, pool, "INSERT INTO "+users+` VALUES (3, NULL)`, "UPDATE "+users+` SET "e mail" = 'x' WHERE id = 9`)
	tabletest.Expect(t, tabletest.Captured(t, session))
	tabletest.Run(t, pool, "UPDATE "+users+` SET n = 6, "e mail" = coalesce("e mail", '') || '.é'`)
	tabletest.Expect(t, tabletest.Captured(t, session),
		`mail.%2E%C3%A9 3 update {"n": 6, "e mail": ".é"}`, `mail.%N 3 update {"n": 0, "e mail": null}`,
		`mail.x%2E%C3%A9 9 update {"n": 6, "e mail": "x.é"}`, `mail.x 9 update {"n": 5, "e mail": "x"}`)

	// An upsert inserts and updates. A column that was added later is part of the payload of a whole row.
	attach(outbox.Attachment{Subject: "u.{id}"})
	tabletest.Run(t, pool, "ALTER TABLE "+users+" ADD COLUMN later int", "INSERT INTO "+users+` (id) VALUES (4), (9) ON CONFLICT (id) DO UPDATE SET later = 7`)
	tabletest.Expect(t, tabletest.Captured(t, session),
		`u.9 9 update {"n": 6, "o": {}, "id": 9, "later": 7, "e mail": "x.é"}`,
		`u.4 4 insert {"n": 0, "o": {}, "id": 4, "later": null, "e mail": null}`)

	list, err := table.Attached(t.Context(), pool)
	if err != nil || len(list) != 1 || list[0].Subject != "u.{id}" || list[0].Key != "{id}" || len(list[0].Operations) != 3 {
		t.Fatalf("attached %+v, %v", list, err)
	}
	for _, want := range []bool{true, false} {
		if found, err := table.Detach(t.Context(), pool, users, time.Second); err != nil || found != want {
			t.Fatalf("detach: %v, %v, want %v", found, err, want)
		}
	}
	tabletest.Run(t, pool, "UPDATE "+users+" SET n = 100")
	tabletest.Expect(t, tabletest.Captured(t, session))
}

// A bulk statement costs one INSERT into the outbox, not one for each row: a statement trigger there runs once.
func TestCaptureIsOneInsertPerStatement(t *testing.T) {
	table, pool, users := tabletest.Shop(t)
	tabletest.Run(t, pool, table.SQL(`CREATE TABLE outbox.statement (n serial);
		CREATE FUNCTION outbox.count_statement() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO outbox.statement DEFAULT VALUES; RETURN NULL; END $$;
		CREATE TRIGGER counted AFTER INSERT ON outbox.event FOR EACH STATEMENT EXECUTE FUNCTION outbox.count_statement()`))
	if _, err := table.Attach(t.Context(), pool, outbox.Attachment{Table: users, Subject: "users.{id}"}, time.Second); err != nil {
		t.Fatal(err)
	}
	tabletest.Run(t, pool, "INSERT INTO "+users+" SELECT g FROM generate_series(1, 5000) g", "UPDATE "+users+" SET n = id", "DELETE FROM "+users)
	var statements, events int
	if err := pool.QueryRow(t.Context(), table.SQL("SELECT (SELECT count(*) FROM outbox.statement), (SELECT count(*) FROM outbox.event)")).Scan(&statements, &events); err != nil {
		t.Fatal(err)
	}
	if statements != 3 || events != 15000 {
		t.Fatalf("%d inserts, %d events; want 3 and 15000", statements, events)
	}
}

// A role that writes to an attached table needs no right on the outbox.
func TestCaptureForARoleWithoutRights(t *testing.T) {
	table, pool, users := tabletest.Shop(t)
	if _, err := table.Attach(t.Context(), pool, outbox.Attachment{Table: users, Subject: "users.{id}"}, time.Second); err != nil {
		t.Fatal(err)
	}
	role := "app_" + table.Schema()
	own, _, _ := strings.Cut(users, ".")
	tabletest.Run(t, pool, "CREATE ROLE "+role, "GRANT USAGE ON SCHEMA "+own+" TO "+role, "GRANT ALL ON "+users+" TO "+role)
	t.Cleanup(func() {
		if _, err := pool.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	tabletest.Run(t, pool, "BEGIN; SET LOCAL ROLE "+role+"; INSERT INTO "+users+" VALUES (1); COMMIT")
	tabletest.Expect(t, tabletest.Captured(t, tabletest.Session(t, table, pool)), `users.1 1 insert {"n": 0, "o": {}, "id": 1, "e mail": null}`)
}

func TestAttachErrors(t *testing.T) {
	table, pool, users := tabletest.Shop(t)
	for _, c := range []struct {
		a    outbox.Attachment
		want string
	}{
		{outbox.Attachment{Table: "nowhere", Subject: "a"}, "this database has no such table"},
		{outbox.Attachment{Table: "nowhere.at_all", Subject: "a"}, "this database has no such table"},
		{outbox.Attachment{Table: users, Subject: "users.{nope}"}, `column "nope"`},
		{outbox.Attachment{Table: users, Subject: "users.{id"}, "unmatched brace"},
		{outbox.Attachment{Table: users, Subject: "users..{id}"}, "literal tokens"},
		{outbox.Attachment{Table: users, Subject: "$JS.{id}"}, "literal tokens"},
		{outbox.Attachment{Table: users, Subject: ""}, "literal tokens"},
		{outbox.Attachment{Table: users, Subject: "u.{id}", Columns: []string{"nope"}}, `no column "nope"`},
		{outbox.Attachment{Table: users, Subject: "u.{id}", Operations: []outbox.Operation{"truncate"}}, "invalid operations {truncate}: want one or more of insert, update, delete"},
		{outbox.Attachment{Table: table.SQL("outbox.event"), Subject: "u.{id}"}, "belongs to the outbox"},
		{outbox.Attachment{Table: "pg_stat_activity", Subject: "u"}, "not a table"},
	} {
		_, err := table.Attach(t.Context(), pool, c.a, time.Second)
		if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, outbox.ErrNotMigrated) {
			t.Errorf("%+v: got %v, want %q", c.a, err, c.want)
		}
	}
	empty, err := outbox.In(devtest.Schema(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := empty.Attach(t.Context(), pool, outbox.Attachment{Table: users, Subject: "a"}, time.Second); !errors.Is(err, outbox.ErrNotMigrated) {
		t.Errorf("without an outbox: %v", err)
	}
}
