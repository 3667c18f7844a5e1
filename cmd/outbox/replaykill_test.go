package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/verify"
)

// A killing is a replay that is ended repeatedly, while a relay publishes its copies and writers insert events.
type killing struct {
	t      *testing.T
	env    []string
	table  *table.Table
	pool   *pgxpool.Pool
	events int64 // to be copied
}

// command is the program, or a line that it printed, for a shell.
func (k *killing) command(ctx context.Context, stderr *bytes.Buffer, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Env, cmd.Stderr = k.env, stderr
	return cmd
}

// job is the only one there is; nil before it began.
func (k *killing) job() *jobs.Job {
	list, err := jobs.In(k.table).Jobs(k.t.Context(), k.pool, 2)
	fatal(k.t, err)
	if len(list) > 1 {
		k.t.Fatalf("%d jobs", len(list))
	}
	if len(list) == 0 {
		return nil
	}
	return &list[0]
}

// end runs a command line until the job has copied that many events, and ends it with a signal. It returns its standard
// error.
func (k *killing) end(line string, events int64, signal syscall.Signal) string {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), 2*patience)
	defer cancel()
	var stderr bytes.Buffer
	cmd := k.command(ctx, &stderr, line)
	fatal(k.t, cmd.Start())
	for job := k.job(); (job == nil || job.Last.Events < events) && ctx.Err() == nil; job = k.job() {
	}
	for until := time.Now().Add(rand.N(20 * time.Millisecond)); time.Now().Before(until); { // somewhere in the next step, or before it
	}
	fatal(k.t, cmd.Process.Signal(signal))
	err := cmd.Wait()
	ended, ok := errors.AsType[*exec.ExitError](err)
	if !ok || ctx.Err() != nil {
		k.t.Fatalf("%s: %v, want an end by %v:\n%s", line, err, signal, stderr.String())
	}
	if signal == syscall.SIGINT && ended.ExitCode() != exit.Failed {
		k.t.Errorf("exit code %d after Ctrl-C, want %d", ended.ExitCode(), exit.Failed)
	}
	return stderr.String()
}

// left waits until the database has noticed that no session performs the job.
func (k *killing) left() {
	k.t.Helper()
	devtest.Eventually(k.t, patience, "the end of the session of the killed command", func() error {
		if k.job().Running {
			return errors.New("it runs")
		}
		return nil
	})
}

// A replay of 12,000 of 30,000 events that is killed with SIGKILL at random steps and continued copies each event once,
// in order, and the stream has all copies.
func TestKilledReplayJob(t *testing.T) {
	t.Parallel()
	const events, chosen, kills = 30_000, 12_000, 6
	pool, conn, stream := devtest.Pool(t), devtest.Conn(t), devtest.Stream(t)
	tbl, err := table.In(devtest.Schema(t))
	fatal(t, err)
	_, err = tbl.Migrate(t.Context(), pool)
	fatal(t, err)
	dir := t.TempDir()
	self, err := os.Executable()
	fatal(t, err)
	fatal(t, os.Symlink(self, filepath.Join(dir, "outbox")))
	k := &killing{t: t, table: tbl, pool: pool, events: chosen, env: append(os.Environ(),
		"PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "OUTBOX_DATABASE_URL="+devtest.Postgres(t).URL(),
		"OUTBOX_NATS_URL="+devtest.NATS(t).URL(), "OUTBOX_SCHEMA="+tbl.Schema(), "OUTBOX_STREAM="+stream)}
	insert := func(n int, who string) {
		_, err := pool.Exec(t.Context(), tbl.SQL(`INSERT INTO outbox.event (subject, key, payload) SELECT $1 || CASE WHEN n % 5 < 2 THEN '.yes.' ELSE '.no.' END || n % 97, $3 || n % 97, 'payload' FROM generate_series(1, $2::int) n`),
			strings.ToLower(stream), n, who)
		fatal(t, err)
	}
	insert(events, "user")
	k.relay(t, strings.ToLower(stream)+".>")
	k.published(events, stream)

	// Ctrl-C first: the last line has the command that continues the job, and the test runs it.
	printed := k.end("outbox replay --subject '*.yes.*' --rate 2400", chosen/20, syscall.SIGINT)
	lines := strings.Split(strings.TrimSpace(printed), "\n")
	again, ok := strings.CutPrefix(lines[len(lines)-1], "to continue, run: ")
	if want := "outbox replay --job " + k.job().ID.String() + " --rate 2400"; !ok || again != want {
		t.Fatalf("the last line is %q, want the command %s", lines[len(lines)-1], want)
	}
	more := 0
	for i := range int64(kills) {
		line := again
		if i < kills/2 { // so that almost all of the time is within a step
			line = strings.Replace(line, "--rate 2400", "--rate 12000 --max-pending 0", 1)
		}
		begin, end := chosen*(i+1)/(kills+2), chosen*(i+2)/(kills+2)
		k.end(line, max(begin, k.job().Last.Events+1)+rand.N(end-begin)/2, syscall.SIGKILL)
		insert(10, "live") // of other keys: no row lock orders a copy and a new event of one key
		if before := k.job().Last.N; i%2 == 0 {
			k.left()
			if k.job().Last.N > before {
				more++
			}
		} // otherwise the next command begins while the session of this one still exists
	}
	t.Logf("after %d kills, %d of them during a step that was still finished: %d copies, %d steps", kills, more, k.job().Last.Events, k.job().Last.N)
	var stderr bytes.Buffer
	out, err := k.command(t.Context(), &stderr, "outbox replay --job "+k.job().ID.String()+" --rate 0 -o json").Output()
	if err != nil || !strings.Contains(string(out), fmt.Sprintf(`"copied": %d,`, chosen)) || !strings.Contains(string(out), `"done": true`) {
		t.Errorf("%v: %s%s", err, out, stderr.String())
	}
	k.verify()
	k.published(events+chosen+10*kills, stream)
	verdict, err := (&verify.Stream{Table: tbl, Pool: pool, Conn: conn, Name: stream}).Verify(t.Context())
	fatal(t, err)
	if err := verdict.Err(); err != nil || verdict.Published != events+chosen+10*kills {
		t.Errorf("%+v, %v", verdict, err)
	}
}

// relay runs the real one until the test ends.
func (k *killing) relay(t *testing.T, subjects string) {
	t.Helper()
	var stderr bytes.Buffer
	relay := k.command(context.Background(), &stderr, "outbox relay --subjects '"+subjects+"'")
	fatal(t, relay.Start())
	t.Cleanup(func() {
		fatal(t, relay.Process.Signal(syscall.SIGTERM))
		if err := relay.Wait(); err != nil {
			t.Errorf("relay: %v\n%s", err, stderr.String())
		}
	})
}

func (k *killing) published(n int64, stream string) {
	k.t.Helper()
	devtest.Eventually(k.t, 2*patience, "the relay", func() error {
		status, err := k.table.Status(k.t.Context(), k.pool, stream)
		if err == nil && status.Published != n {
			err = fmt.Errorf("%d published, want %d", status.Published, n)
		}
		return err
	})
}

// verify wants a copy of each event that was asked for, once, in their order.
func (k *killing) verify() {
	k.t.Helper()
	rows, err := k.pool.Query(k.t.Context(), k.table.SQL(`SELECT o.id FROM outbox.event c JOIN outbox.event o ON o.event_id = c.resend_of ORDER BY c.id`))
	fatal(k.t, err)
	originals, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	fatal(k.t, err)
	if int64(len(originals)) != k.events {
		k.t.Errorf("%d copies, want %d", len(originals), k.events)
	}
	for i, id := range originals {
		if want := int64(i)/2*5 + 1 + int64(i)%2*4; id != want { // 1, 5, 6, 10, 11 …
			k.t.Fatalf("copy %d is one of event %d, want each once and in order", i+1, id)
		}
	}
}
