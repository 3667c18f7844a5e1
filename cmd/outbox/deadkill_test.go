package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A replay that is killed with SIGKILL repeatedly, while it commits and deletes dead letters, replays each of them
// once, in their order.
func TestKilledReplays(t *testing.T) {
	t.Parallel()
	const letters, kills = 3500, 3
	pool, conn, stream := devtest.Pool(t), devtest.Conn(t), devtest.Stream(t)
	noLettersLeft(t, stream)
	tbl, err := table.In(devtest.Schema(t))
	fatal(t, err)
	_, err = tbl.Migrate(t.Context(), pool)
	fatal(t, err)
	js, err := jetstream.New(conn)
	fatal(t, err)
	originals := publishLetters(t, js, stream, letters)

	bin := filepath.Join(t.TempDir(), "outbox")
	self, err := os.Executable()
	fatal(t, err)
	fatal(t, os.Symlink(self, bin))
	replay := func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, bin, "dead", "replay", "--source", "dead-letters", "--all", "-o", "json")
		cmd.Env = append(os.Environ(), "OUTBOX_DATABASE_URL="+devtest.Postgres(t).URL(), "OUTBOX_NATS_URL="+devtest.NATS(t).URL(),
			"OUTBOX_SCHEMA="+tbl.Schema(), "OUTBOX_STREAM="+stream)
		cmd.Stderr = os.Stderr
		return cmd
	}
	left := func() int {
		dead, err := js.Stream(t.Context(), stream+"_DEAD")
		fatal(t, err)
		return int(dead.CachedInfo().State.Msgs)
	}
	decisions := func() (n int) {
		fatal(t, pool.QueryRow(t.Context(), tbl.SQL(`SELECT count(*) FROM outbox.decision`)).Scan(&n))
		return n
	}
	between := 0
	for range kills {
		ctx, cancel := context.WithTimeout(t.Context(), patience) // its end is SIGKILL
		before := decisions()
		cmd := replay(ctx)
		fatal(t, cmd.Start())
		for decisions() == before && ctx.Err() == nil {
		}
		cancel()
		if err := cmd.Wait(); err == nil {
			t.Fatal("the replay ended before it was killed")
		}
		if decisions()+left() > letters {
			between++
		}
	}
	t.Logf("after %d kills, %d of them during deletes: %d dead letters left, %d decisions", kills, between, left(), decisions())
	if between == 0 {
		t.Error("no kill came between a commit and its deletes, so the test proves nothing")
	}
	out, err := replay(t.Context()).Output()
	fatal(t, err)
	t.Logf("%s", out)
	if n := left(); n != 0 {
		t.Errorf("%d dead letters left", n)
	}
	rows, err := pool.Query(t.Context(), tbl.SQL(`SELECT resend_of::text FROM outbox.event ORDER BY id`))
	fatal(t, err)
	copies, err := pgx.CollectRows(rows, pgx.RowTo[string])
	fatal(t, err)
	if fmt.Sprint(copies) != fmt.Sprint(originals) {
		t.Errorf("%d copies of %d dead letters, or not in their order", len(copies), letters)
	}
}

func publishLetters(t *testing.T, js jetstream.JetStream, stream string, n int) (ids []string) {
	t.Helper()
	subject := event.DeadPrefix + stream
	_, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream + "_DEAD", Subjects: []string{subject}})
	fatal(t, err)
	for range n {
		id := uuid.NewString()
		ids = append(ids, id)
		msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte("payload")}
		msg.Header.Set(event.HeaderDeadSubject, "a.b")
		msg.Header.Set(event.HeaderEventID, id)
		_, err := js.PublishMsgAsync(msg, jetstream.WithStallWait(patience))
		fatal(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-t.Context().Done():
	}
	return ids
}

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
