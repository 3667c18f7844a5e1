package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// scriptSQL runs statements in the script's schema, which they name outbox, and prints the first column of the last.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, ts.Getenv("OUTBOX_DATABASE_URL"))
	ts.Check(err)
	defer conn.Close(ctx)
	tbl, err := table.In(ts.Getenv("OUTBOX_SCHEMA"))
	ts.Check(err)
	for _, statement := range args {
		rows, err := conn.Query(ctx, tbl.SQL(statement), pgx.QueryExecModeExec)
		ts.Check(err)
		for rows.Next() {
			values, err := rows.Values()
			ts.Check(err)
			fmt.Fprintln(ts.Stdout(), values[0])
		}
		if err := rows.Err(); (err != nil) != neg {
			ts.Fatalf("%s: %v", statement, err)
		}
	}
}

// scriptRedis sends one command and prints its reply.
func scriptRedis(ts *testscript.TestScript, _ bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	options, err := redis.ParseURL(ts.Getenv("OUTBOX_REDIS_URL"))
	ts.Check(err)
	rdb := redis.NewClient(options)
	defer rdb.Close()
	command := make([]any, len(args))
	for i, arg := range args {
		command[i] = arg
	}
	reply, err := rdb.Do(ctx, command...).Result()
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), reply)
}

// scriptStream creates the script's stream with a wrong configuration.
func scriptStream(ts *testscript.TestScript, _ bool, _ []string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := nats.Connect(ts.Getenv("OUTBOX_NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	stream := ts.Getenv("OUTBOX_STREAM")
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: stream, Subjects: []string{"bad." + ts.Getenv("S") + ".>"}, Storage: jetstream.MemoryStorage,
		Retention: jetstream.InterestPolicy, Duplicates: time.Second, MaxMsgSize: 1000,
	})
	ts.Check(err)
}

// scriptDurable starts a PostgreSQL for the script that is configured as in production.
func scriptDurable(ts *testscript.TestScript, _ bool, _ []string) {
	t := ts.Value("t").(testing.TB)
	server := devtest.OwnPostgres(t, devstack.PostgresConfig{Fsync: true})
	ts.Setenv("OUTBOX_DATABASE_URL", server.URL())
	ts.Setenv("SILENT", silentPooler(t, server.URL()))
	ts.Setenv("POOR", asRole(server.URL(), "outbox_poor"))
}

// scriptTerm sends SIGTERM to the commands in the background, which the command kill cannot.
func scriptTerm(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// scriptHangup sends SIGHUP to the invalidators in the background.
func scriptHangup(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		if slices.Contains(c.Args, "invalidate") {
			ts.Check(c.Process.Signal(syscall.SIGHUP))
		}
	}
}

// asRole is the URL of a database with another role.
func asRole(databaseURL, role string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		panic(err) // the URL is the test's own
	}
	u.User = url.User(role)
	return u.String()
}
