package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// openStream reads the state of the consumers. A stream that does not exist has none.
func (t *tracer) openStream(ctx context.Context) error {
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	stream, err := t.js.Stream(ctx, t.set.Text("stream"))
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return exit.Unreached(exit.NATS, fmt.Errorf("read stream %s: %w", t.set.Text("stream"), err))
	}
	if t.consumers, err = readConsumers(ctx, stream); err != nil {
		return exit.Unreached(exit.NATS, err)
	}
	t.stream = stream
	return nil
}

// follow lists the hops of one event.
func (t *tracer) follow(ctx context.Context, e *table.Trail) (*tracedJSON, error) {
	out := &tracedJSON{EventID: e.ID.String(), Subject: e.Subject, Key: e.Key, State: e.State, Position: e.Position, Sequence: e.Sequence}
	if e.ResendOf != uuid.Nil {
		out.ResendOf = e.ResendOf.String()
	}
	out.Hops = append(out.Hops, hop{Hop: "row", State: "done", At: e.CreatedAt, What: fmt.Sprintf("id %d, transaction %s", e.RowID, e.Xid)})
	if e.PlannedAt.IsZero() {
		out.Hops = append(out.Hops, hop{Hop: "plan", State: "waiting"})
		return out, nil
	}
	out.Hops = append(out.Hops, hop{Hop: "plan", State: "done", At: e.PlannedAt, What: fmt.Sprintf("position %d, by %s", e.Position, cmp.Or(e.Relay, "a relay"))})
	if !e.ParkedAt.IsZero() && e.Reason != table.ReasonDisplaced {
		out.Hops = append(out.Hops, hop{Hop: "parked", State: e.State, At: e.ParkedAt, What: strings.TrimSuffix(e.Reason+": "+e.Detail, ": ")})
		return out, nil
	}
	if e.PublishedAt.IsZero() {
		out.Hops = append(out.Hops, hop{Hop: "receipt", State: "waiting"})
		return out, nil
	}
	receipt := hop{Hop: "receipt", State: "done", At: e.PublishedAt, What: fmt.Sprintf("stream %s had acknowledged it by then", e.Stream)}
	if t.stream == nil || e.Sequence == 0 {
		out.Hops = append(out.Hops, receipt)
		return out, nil
	}
	stored, err := t.stored(ctx, e)
	if err != nil {
		return nil, err
	}
	out.Hops = append(out.Hops, stored, receipt)
	for i := range t.consumers {
		out.Hops = append(out.Hops, consumed(&t.consumers[i], e.Sequence))
	}
	if t.rules == nil {
		return out, nil
	}
	for _, m := range t.rules.Explain(&e.Event).Matched {
		out.Keys, out.Tags = append(out.Keys, m.Keys...), append(out.Tags, m.Tags...)
		for _, key := range m.Keys {
			out.Hops = append(out.Hops, hop{Hop: "cache", State: "deletes", What: fmt.Sprintf("%s (rule %d, echo %s)", key, m.Rule, cmp.Or(strings.Join(m.Echo, " "), "off"))})
		}
		for _, tag := range m.Tags {
			out.Hops = append(out.Hops, hop{Hop: "cache", State: "deletes", What: fmt.Sprintf("the members of %s (rule %d)", tag, m.Rule)})
		}
	}
	return out, nil
}

// stored reads the message in the stream.
func (t *tracer) stored(ctx context.Context, e *table.Trail) (hop, error) {
	ctx, cancel := dial.Within(ctx)
	defer cancel()
	h := hop{Hop: "stream", State: "done", What: fmt.Sprintf("%s, sequence %d", e.Stream, e.Sequence)}
	m, err := t.stream.GetMsg(ctx, e.Sequence)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		h.State, h.What = "missing", fmt.Sprintf("no message at sequence %d: expired or removed; outbox audit distinguishes them", e.Sequence)
		return h, nil
	case err != nil:
		return h, exit.Unreached(exit.NATS, fmt.Errorf("read sequence %d: %w", e.Sequence, err))
	}
	h.At = m.Time
	if found, err := event.Parse(m.Subject, m.Header, nil); err != nil || found.ID != e.ID {
		h.State, h.What = "missing", fmt.Sprintf("another message is at sequence %d; run: outbox audit", e.Sequence)
	}
	return h, nil
}

// consumed reports whether a consumer has acknowledged a message. NATS does not record when.
func consumed(k *health.Consumer, sequence uint64) hop {
	h := hop{Hop: "consumer", Name: k.Name, State: "waiting", What: k.Name}
	switch {
	case k.Floor >= sequence:
		h.State, h.What = "done", k.Name+" has acknowledged it"
	case k.Delivered >= sequence:
		h.State, h.What = "delivered", k.Name+" received it and has not acknowledged everything up to it"
	case k.PausedUntil != nil:
		h.What = k.Name + " is paused"
	}
	return h
}

func (out *traceJSON) print(w io.Writer) error {
	for i := range out.Events {
		e := &out.Events[i]
		if i > 0 {
			if err := printf(w, "\n"); err != nil {
				return err
			}
		}
		title := fmt.Sprintf("%s %s", e.EventID, term.Plain(e.Subject))
		if e.Key != "" {
			title += ", key " + term.Plain(e.Key)
		}
		if e.ResendOf != "" {
			title += ", copy of " + e.ResendOf
		}
		if err := printf(w, "%s: %s\n", title, e.State); err != nil {
			return err
		}
		var rows [][]string
		before := time.Time{}
		for _, h := range e.Hops {
			at, after := "", ""
			if !h.At.IsZero() {
				at = h.At.Local().Format("2006-01-02 15:04:05.000")
				if !before.IsZero() {
					after = fmt.Sprintf("%+.3fs", h.At.Sub(before).Seconds())
				} else {
					before = h.At
				}
			}
			rows = append(rows, []string{"  " + h.Hop, h.State, at, after, term.Plain(h.What)})
		}
		if err := term.Table(w, nil, rows); err != nil {
			return err
		}
	}
	return nil
}
