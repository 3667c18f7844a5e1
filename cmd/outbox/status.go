package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
)

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "print a verdict, and the state of the outbox, the stream and its consumers", UsageText: "outbox status [flags]",
		Description: `The first line is a verdict, such as healthy, relay down, relay too slow, broker down, stream lost data, consumer stuck or
database blocked. The second is the command to run next.

If NATS is not available, stream and consumers are missing (null in JSON), and the exit code is 69. If the stream does not
exist, they are missing too, and the exit code is 0.

Examples:
  outbox status
  outbox status -o json | jq .verdict.state`,
		Flags:  append(setting.Flags(""), term.OutputFlag()),
		Action: action("", status),
	}
}

type statusJSON struct {
	Verdict    health.Verdict  `json:"verdict"`
	Schema     string          `json:"schema"`
	Pending    int64           `json:"pending"`
	Published  int64           `json:"published"`
	Parked     int64           `json:"parked"`
	Dead       *int            `json:"dead"` // dead letters; null: NATS is not available
	LagSeconds float64         `json:"lag_seconds"`
	In         float64         `json:"in_per_s"`  // committed events, over the last 30 s
	Out        float64         `json:"out_per_s"` // acknowledged events, over the last 30 s
	Planned    int64           `json:"planned"`   // last position of the plan
	Acked      int64           `json:"acked"`     // last position that the stream acknowledged
	Sequence   uint64          `json:"sequence"`  // of Acked in the stream
	Leader     *string         `json:"leader"`    // null: no relay leads
	Asleep     bool            `json:"asleep"`
	Stream     *streamStatus   `json:"stream"`
	Consumers  []consumerState `json:"consumers"`
	Paused     []pauseJSON     `json:"paused"` // by outbox pause
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
	Name        string    `json:"name"`
	Pending     uint64    `json:"pending"`
	AckPending  int       `json:"ack_pending"`
	Redelivered int       `json:"redelivered"`
	Waiting     int       `json:"waiting"`   // pulls; 0 if no process reads
	AckFloor    uint64    `json:"ack_floor"` // sequence up to which every message is acknowledged
	LastAck     time.Time `json:"last_ack,omitzero"`

	PausedUntil *time.Time `json:"paused_until"` // null: NATS delivers
}

func status(ctx context.Context, s *session) error {
	l, err := openMonitor(ctx, s)
	if err != nil {
		return err
	}
	v, err := l.read(ctx)
	if err != nil {
		return err
	}
	if v.Broker == nil && v.info == nil {
		s.notef("outbox: stream %s does not exist; outbox relay creates it\n", v.Name)
	}
	out := newStatus(s.table.Schema(), v)
	return errors.Join(s.print(out, out.print), v.Broker)
}

func newStatus(schema string, v *snapshot) *statusJSON {
	read := &v.Status
	out := &statusJSON{
		Verdict: health.Assess(&v.Facts, health.Limits{}),
		Schema:  schema, Pending: read.Pending, Published: read.Published, Parked: read.Parked, LagSeconds: read.Lag.Seconds(),
		Paused: newPauses(v.pauses),
		In:     v.Rates.In, Out: v.Rates.Out, Planned: read.Planned, Acked: read.Acked, Sequence: read.Sequence, Asleep: read.Asleep,
	}
	if read.Leader != "" {
		out.Leader = &read.Leader
	}
	if v.Broker != nil {
		return out
	}
	out.Dead, out.Consumers = &v.Dead, []consumerState{}
	for _, k := range v.Consumers {
		out.Consumers = append(out.Consumers, consumerState{k.Name, k.Pending, k.AckPending, k.Redelivered, k.Waiting, k.Floor, k.LastAck, k.PausedUntil})
	}
	if v.info != nil {
		out.Stream = &streamStatus{
			Name: v.info.Config.Name, Created: v.info.Created, FirstSeq: v.info.State.FirstSeq, LastSeq: v.info.State.LastSeq,
			Messages: v.info.State.Msgs, Bytes: v.info.State.Bytes,
		}
	}
	return out
}

func (out *statusJSON) print(w io.Writer) error {
	if err := printf(w, "%s: %s\n", out.Verdict.State, out.Verdict.Detail); err != nil {
		return err
	}
	if out.Verdict.Next != "" {
		if err := printf(w, "next: %s\n", out.Verdict.Next); err != nil {
			return err
		}
	}
	leader := "none"
	if out.Leader != nil {
		leader = *out.Leader
	}
	rows := [][]string{
		{""}, {"schema", out.Schema}, {"pending", fmt.Sprint(out.Pending)}, {"lag", time.Duration(out.LagSeconds * float64(time.Second)).Round(time.Millisecond).String()},
		{"rates", fmt.Sprintf("%.1f/s in, %.1f/s out", out.In, out.Out)},
		{"published", fmt.Sprint(out.Published)}, {"parked", fmt.Sprint(out.Parked)}, {"leader", leader},
	}
	if out.Dead != nil {
		rows = append(rows, []string{"dead letters", fmt.Sprint(*out.Dead)})
	}
	if out.Stream != nil {
		rows = append(rows, []string{"stream", fmt.Sprintf("%s: %d messages, last sequence %d", out.Stream.Name, out.Stream.Messages, out.Stream.LastSeq)})
	}
	for i := range out.Consumers {
		k := &out.Consumers[i]
		text := fmt.Sprintf("%s: %d pending, %d not acknowledged", k.Name, k.Pending, k.AckPending)
		if k.PausedUntil != nil {
			text += ", paused"
		}
		rows = append(rows, []string{"consumer", text})
	}
	for i := range out.Paused {
		rows = append(rows, []string{"paused", out.Paused[i].Target + " " + out.Paused[i].text()})
	}
	return term.Table(w, nil, rows)
}
