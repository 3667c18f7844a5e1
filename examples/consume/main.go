// Command consume prints what the stream holds, with the plain NATS client.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	js, _ := jetstream.New(nc)
	consumer, err := js.OrderedConsumer(context.Background(), "OUTBOX", jetstream.OrderedConsumerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	batch, err := consumer.Fetch(100, jetstream.FetchMaxWait(time.Second))
	if err != nil {
		log.Fatal(err)
	}
	for m := range batch.Messages() {
		fmt.Println(m.Headers().Get("Outbox-Position"), m.Subject(), string(m.Data()))
	}
}
