package invalidate_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silent{}) // go-redis logs every failed dial while a test has Redis stopped
	devtest.Main(m)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// connect returns clients for an example: of the test servers, with a new stream OUTBOX of the subjects users.> and an
// empty database.
func connect() (js jetstream.JetStream, rdb *redis.Client, closeAll func()) {
	ctx := context.Background()
	opts, err := redis.ParseURL(strings.TrimSuffix(devtest.Redis(exampleTB{}).URL(), "/0") + "/9") // tests use database 0
	must(err)
	rdb = redis.NewClient(opts)
	must(rdb.FlushDB(ctx).Err())
	nc, err := nats.Connect(devtest.NATS(exampleTB{}).URL())
	must(err)
	js, err = jetstream.New(nc)
	must(err)
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "OUTBOX", Subjects: []string{"users.>"}})
	must(err)
	return js, rdb, func() {
		must(js.DeleteStream(ctx, "OUTBOX"))
		nc.Close()
		must(rdb.Close())
	}
}

// publish publishes an event as the relay does.
func publish(js jetstream.JetStream, subject, payload string) {
	e := event.Event{ID: uuid.New(), Subject: subject, Position: 1}
	msg := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: []byte(payload)}
	e.SetHeaders(msg.Header)
	_, err := js.PublishMsg(context.Background(), msg)
	must(err)
}

// exampleTB starts a server for an example, which has no testing.TB.
type exampleTB struct{ testing.TB }

func (exampleTB) Helper() {}

func (exampleTB) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
