package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// scriptCover sets the subjects of the script's stream: cover subjects….
func scriptCover(ts *testscript.TestScript, _ bool, args []string) {
	withJetStream(ts, func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, ts.Getenv("OUTBOX_STREAM"))
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		config.Subjects = append(args, event.ParkedPrefix+config.Name)
		_, err = js.UpdateStream(ctx, config)
		return err
	})
}

// scriptDeadLetters stores that many dead letters in the script's dead-letter stream, the last one without its payload.
func scriptDeadLetters(ts *testscript.TestScript, _ bool, args []string) {
	var n int
	_, err := fmt.Sscan(args[0], &n)
	ts.Check(err)
	withJetStream(ts, func(ctx context.Context, js jetstream.JetStream) error {
		subject := event.DeadPrefix + ts.Getenv("OUTBOX_STREAM")
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: ts.Getenv("OUTBOX_STREAM") + "_DEAD", Subjects: []string{subject}})
		if err != nil {
			return err
		}
		for i := 1; i <= n; i++ {
			msg := nats.NewMsg(subject)
			msg.Data = []byte("payload")
			msg.Header.Set(event.HeaderDeadSubject, fmt.Sprintf("%s.%d", ts.Getenv("S"), i))
			msg.Header.Set(event.HeaderDeadReason, "no reason")
			msg.Header.Set(event.HeaderEventID, uuid.NewString())
			if i == n {
				msg.Data = nil
				msg.Header.Set(event.HeaderDeadOmitted, "7")
			}
			if _, err := js.PublishMsg(ctx, msg); err != nil {
				return err
			}
		}
		return nil
	})
}

func withJetStream(ts *testscript.TestScript, do func(ctx context.Context, js jetstream.JetStream) error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	nc, err := nats.Connect(ts.Getenv("OUTBOX_NATS_URL"))
	ts.Check(err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	ts.Check(err)
	ts.Check(do(ctx, js))
}

// noLettersLeft deletes the dead-letter stream of a test's stream when the test ends.
func noLettersLeft(t testing.TB, stream string) {
	url := devtest.NATS(t).URL()
	t.Cleanup(func() {
		nc, err := nats.Connect(url)
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err == nil {
			err = js.DeleteStream(context.Background(), stream+"_DEAD")
		}
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Error(err)
		}
	})
}
