package local_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate/local"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// exampleTB starts a server for an example, which has no testing.TB.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper() {}

func (exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// exampleStream creates the stream OUTBOX. It returns a client, whose connection the caller must close, and a function that
// publishes an event as the relay does.
func exampleStream() (js jetstream.JetStream, publish func(subject string)) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	ctx := context.Background()
	conn, err := nats.Connect(devtest.NATS(exampleTB{}).URL())
	must(err)
	js, err = jetstream.New(conn)
	must(err)
	if err := js.DeleteStream(ctx, "OUTBOX"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		must(err)
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "OUTBOX", Subjects: []string{"users.>", "teams.>"}})
	must(err)
	return js, func(subject string) {
		e := event.Event{ID: uuid.New(), Subject: subject, Payload: []byte(`{}`)}
		msg := &nats.Msg{Subject: e.Subject, Header: nats.Header{}, Data: e.Payload}
		e.SetHeaders(msg.Header)
		_, err := js.PublishMsg(ctx, msg)
		must(err)
	}
}

// run runs an evictor until the caller calls stop, which returns what Run returned.
func run(e *local.Evictor) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	return func() error {
		cancel()
		return <-done
	}
}
