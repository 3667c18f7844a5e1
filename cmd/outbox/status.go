package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/outbox"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "print how far the outbox, the stream and its consumers are", UsageText: "outbox status [flags]",
		Description: `Reads the database, then NATS. When NATS is away, what the database says is printed, stream and consumers are
empty (null in JSON), and the exit code is 69. A stream that does not exist is empty too, with exit code 0.

Example:
  outbox status -o json | jq .pending`,
		Flags:  append(settingFlags(""), outputFlag()),
		Action: withSettings("", status),
	}
}

type statusJSON struct {
	Schema     string          `json:"schema"`
	Pending    int64           `json:"pending"`
	Published  int64           `json:"published"`
	Parked     int64           `json:"parked"`
	LagSeconds float64         `json:"lag_seconds"`
	Planned    int64           `json:"planned"`  // last position of the plan
	Acked      int64           `json:"acked"`    // last position that the stream acknowledged
	Sequence   uint64          `json:"sequence"` // where that lies in the stream
	Leader     *string         `json:"leader"`   // null: nobody leads
	Asleep     bool            `json:"asleep"`
	Stream     *streamStatus   `json:"stream"`
	Consumers  []consumerState `json:"consumers"`
}

type streamStatus struct {
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	FirstSeq uint64    `json:"first_seq"`
	LastSeq  uint64    `json:"last_seq"`
	Messages uint64    `json:"messages"`
	Bytes    uint64    `json:"bytes"`
}

type consumerState struct {
	Name        string `json:"name"`
	Pending     uint64 `json:"pending"`
	AckPending  int    `json:"ack_pending"`
	Redelivered int    `json:"redelivered"`
}

func status(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	table, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	read, err := table.Status(c.Context, pool, s.text("stream"))
	if err != nil {
		return err
	}
	out := newStatus(table.Schema(), read)
	away := out.readStream(c, s)
	if asJSON {
		err = printJSON(c.App.Writer, out)
	} else {
		err = out.print(c)
	}
	return errors.Join(err, away)
}

func newStatus(schema string, read outbox.Status) *statusJSON {
	s := &statusJSON{
		Schema: schema, Pending: read.Pending, Published: read.Published, Parked: read.Parked, LagSeconds: read.Lag.Seconds(),
		Planned: read.Planned, Acked: read.Acked, Sequence: read.Sequence, Asleep: read.Asleep,
	}
	if read.Leader != "" {
		s.Leader = &read.Leader
	}
	return s
}

// readStream fills in what NATS says. A stream that does not exist is worth a warning, not an error.
func (out *statusJSON) readStream(c *cli.Context, s settings) error {
	nc, js, err := dialNATS(s, c.Command.HelpName)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := within(c.Context)
	defer cancel()
	stream, err := js.Stream(ctx, s.text("stream"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		out.Consumers = []consumerState{}
		fmt.Fprintf(c.App.ErrWriter, "outbox: stream %s does not exist; outbox relay makes it\n", s.text("stream"))
		return nil
	}
	if err != nil {
		return &serverError{natsServer, fmt.Errorf("read stream %s: %w", s.text("stream"), err)}
	}
	info := stream.CachedInfo()
	consumers, err := readConsumers(ctx, stream)
	if err != nil {
		return &serverError{natsServer, err}
	}
	out.Stream = &streamStatus{
		Name: info.Config.Name, Created: info.Created, FirstSeq: info.State.FirstSeq, LastSeq: info.State.LastSeq,
		Messages: info.State.Msgs, Bytes: info.State.Bytes,
	}
	out.Consumers = consumers
	return nil
}

func readConsumers(ctx context.Context, stream jetstream.Stream) ([]consumerState, error) {
	out := []consumerState{}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		out = append(out, consumerState{Name: info.Name, Pending: info.NumPending, AckPending: info.NumAckPending, Redelivered: info.NumRedelivered})
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	return out, nil
}

func (out *statusJSON) print(c *cli.Context) error {
	leader := "nobody"
	if out.Leader != nil {
		leader = *out.Leader
	}
	rows := [][]string{
		{"schema", out.Schema}, {"pending", fmt.Sprint(out.Pending)}, {"lag", time.Duration(out.LagSeconds * float64(time.Second)).Round(time.Millisecond).String()},
		{"published", fmt.Sprint(out.Published)}, {"parked", fmt.Sprint(out.Parked)}, {"leader", leader},
	}
	if out.Stream != nil {
		rows = append(rows, []string{"stream", fmt.Sprintf("%s: %d messages, last sequence %d", out.Stream.Name, out.Stream.Messages, out.Stream.LastSeq)})
	}
	for _, consumer := range out.Consumers {
		rows = append(rows, []string{"consumer", fmt.Sprintf("%s: %d pending, %d not acknowledged", consumer.Name, consumer.Pending, consumer.AckPending)})
	}
	return printTable(c.App.Writer, nil, rows)
}
