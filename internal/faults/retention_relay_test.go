package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// relayChildEnv makes the test binary run a relay. The outbox program requires a retention of at least a day; the
// library does not.
const relayChildEnv = "OUTBOX_FAULTS_RELAY"

// relayChild configures that relay, as JSON in the variable.
type relayChild struct {
	Database, NATS, Schema, Stream         string
	Retention, ReceiptEvery, MaintainEvery time.Duration
}

func startRelayChild(t testing.TB, c relayChild) *program {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, []string{relayChildEnv + "=" + string(text)}, path)
}

// runRelayChild runs the relay until the process is killed.
func runRelayChild(text string) error {
	var c relayChild
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return fmt.Errorf("%s: %w", relayChildEnv, err)
	}
	tbl, err := table.In(c.Schema)
	if err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, c.Database)
	if err != nil {
		return err
	}
	defer pool.Close()
	nc, err := nats.Connect(c.NATS, nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	r, err := relay.New(pool, nc, relay.Config{Schema: tbl.Schema(), Stream: c.Stream, Name: "soak", Retention: c.Retention, ReceiptEvery: c.ReceiptEvery,
		MaintainEvery: c.MaintainEvery, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	return r.Run(ctx)
}
