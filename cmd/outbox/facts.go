package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// pulseWindow is over what the rates of status, check and top are taken.
const pulseWindow = 30 * time.Second

// A lookout reads what a verdict is made of, again and again.
type lookout struct {
	s     settings
	table *table.Table
	pool  *pgxpool.Pool
	nc    *nats.Conn // nil: NATS was not reached
	js    jetstream.JetStream
	away  error // why
}

// openLookout connects. Without the database there is nothing to say; without NATS there is.
func openLookout(c *cli.Context, s settings) (*lookout, error) {
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return nil, err
	}
	l := &lookout{s: s, table: tbl, pool: pool}
	l.nc, l.js, l.away = dialNATS(s, c.Command.HelpName)
	if usage, ok := errors.AsType[*usageError](l.away); ok {
		l.close()
		return nil, usage
	}
	return l, nil
}

func (l *lookout) close() {
	if l.nc != nil {
		l.nc.Close()
	}
	l.pool.Close()
}

// A sight is what was read, of which a verdict can be made, and what of the stream is shown beside it.
type sight struct {
	health.Facts
	pauses []table.Pause
	info   *jetstream.StreamInfo // nil: it does not exist, or NATS is away
}

// look reads the database, then NATS. An error is one of the database; what NATS failed with is a fact.
func (l *lookout) look(ctx context.Context) (*sight, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*connectTimeout)
	defer cancel()
	v := &sight{Facts: health.Facts{Name: l.s.text("stream"), Now: time.Now()}}
	var err error
	if v.Status, err = l.table.Status(ctx, l.pool, v.Name); err != nil {
		return nil, err
	}
	if v.Rates, err = l.table.Rates(ctx, l.pool, v.Name, pulseWindow); err != nil {
		return nil, err
	}
	if v.pauses, err = l.table.Pauses(ctx, l.pool); err != nil {
		return nil, err
	}
	for _, p := range newPauses(v.pauses) {
		if p.Target == table.PauseRelay {
			v.Paused = p.text()
		}
	}
	if v.Broker = l.away; v.Broker == nil {
		v.Broker = l.readNATS(ctx, v)
	}
	return v, nil
}

func (l *lookout) readNATS(ctx context.Context, v *sight) error {
	stream, err := l.js.Stream(ctx, v.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return &serverError{natsServer, fmt.Errorf("read stream %s: %w", v.Name, err)}
	}
	v.info = stream.CachedInfo()
	v.Stream = &health.Stream{Created: v.info.Created, Last: v.info.State.LastSeq}
	if v.Consumers, err = readConsumers(ctx, stream); err != nil {
		return &serverError{natsServer, err}
	}
	letters, err := l.js.Stream(ctx, l.deadStream())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
	case err != nil:
		return &serverError{natsServer, fmt.Errorf("read stream %s: %w", l.deadStream(), err)}
	default:
		v.Dead = int(letters.CachedInfo().State.Msgs)
	}
	return nil
}

func (l *lookout) deadStream() string {
	if name := l.s.text("invalidate.dead_stream"); name != "" {
		return name
	}
	return l.s.text("stream") + "_DEAD"
}

func readConsumers(ctx context.Context, stream jetstream.Stream) ([]health.Consumer, error) {
	out := []health.Consumer{}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		c := health.Consumer{
			Name: info.Name, Pending: info.NumPending, AckPending: info.NumAckPending, Redelivered: info.NumRedelivered,
			Waiting: info.NumWaiting, Floor: info.AckFloor.Stream, Delivered: info.Delivered.Stream,
		}
		if info.Paused {
			c.PausedUntil = info.Config.PauseUntil
		}
		if info.AckFloor.Last != nil {
			c.LastAck = *info.AckFloor.Last
		}
		out = append(out, c)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("list consumers: %w", err)
	}
	for i := range out {
		if c := &out[i]; c.Pending+uint64(c.AckPending) > 0 {
			if m, err := stream.GetMsg(ctx, c.Floor+1); err == nil { // it may have expired: then it is not known
				c.Oldest = m.Time
			}
		}
	}
	return out, nil
}
