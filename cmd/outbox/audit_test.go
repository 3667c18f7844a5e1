package main

import (
	"context"
	"strconv"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// scriptTamper damages the script's stream: tamper delete 7, tamper purge, tamper foreign, tamper twice 7.
func scriptTamper(ts *testscript.TestScript, _ bool, args []string) {
	withJetStream(ts, func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, ts.Getenv("OUTBOX_STREAM"))
		if err != nil {
			return err
		}
		sequence := uint64(0)
		if len(args) > 1 {
			if sequence, err = strconv.ParseUint(args[1], 10, 64); err != nil {
				return err
			}
		}
		switch args[0] {
		case "delete":
			return stream.DeleteMsg(ctx, sequence)
		case "purge":
			return stream.Purge(ctx)
		case "foreign":
			_, err = js.Publish(ctx, ts.Getenv("S")+".a.foreign", []byte("x"))
			return err
		}
		stored, err := stream.GetMsg(ctx, sequence)
		if err != nil {
			return err
		}
		again := nats.NewMsg(stored.Subject)
		again.Data = stored.Data
		for name, values := range stored.Header {
			if name != "Nats-Expected-Last-Sequence" {
				again.Header[name] = values
			}
		}
		again.Header.Set(event.HeaderEventID, stored.Header.Get(event.HeaderMsgID))
		again.Header.Set(event.HeaderMsgID, uuid.NewString())
		_, err = js.PublishMsg(ctx, again)
		return err
	})
}
