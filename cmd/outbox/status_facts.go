package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/dial"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// ratesWindow is the time over which status, check and top take rates.
const ratesWindow = 30 * time.Second

// A monitor reads the facts of a verdict, once or repeatedly.
type monitor struct {
	*session
	away error // why NATS was not reached; nil if it was
}

// openMonitor connects. It requires the database. If NATS does not answer, every verdict of the monitor reports that.
func openMonitor(ctx context.Context, s *session) (*monitor, error) {
	if err := s.dialPostgres(ctx); err != nil {
		return nil, err
	}
	l := &monitor{session: s}
	if l.away = s.dialNATS(ctx); exit.IsUsage(l.away) {
		return nil, l.away
	}
	return l, nil
}

// A snapshot is the facts of one verdict, and further state that commands print.
type snapshot struct {
	health.Facts
	pauses []table.Pause
	info   *jetstream.StreamInfo // nil: the stream does not exist, or NATS does not answer
}

// read reads the database, then NATS. It returns an error only of the database; an error of NATS is one of the facts.
func (l *monitor) read(ctx context.Context) (*snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*dial.Timeout)
	defer cancel()
	v := &snapshot{Facts: health.Facts{Name: l.set.Text("stream"), Now: time.Now()}}
	var err error
	if v.Status, err = l.table.Status(ctx, l.pool, v.Name); err != nil {
		return nil, err
	}
	if v.Rates, err = l.table.Rates(ctx, l.pool, v.Name, ratesWindow); err != nil {
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

func (l *monitor) readNATS(ctx context.Context, v *snapshot) error {
	stream, err := l.js.Stream(ctx, v.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return exit.Unreached(exit.NATS, fmt.Errorf("read stream %s: %w", v.Name, err))
	}
	v.info = stream.CachedInfo()
	v.Stream = &health.Stream{Created: v.info.Created, Last: v.info.State.LastSeq}
	if v.Consumers, err = readConsumers(ctx, stream); err != nil {
		return exit.Unreached(exit.NATS, err)
	}
	dead, err := l.js.Stream(ctx, l.deadStream())
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
	case err != nil:
		return exit.Unreached(exit.NATS, fmt.Errorf("read stream %s: %w", l.deadStream(), err))
	default:
		v.Dead = int(dead.CachedInfo().State.Msgs)
	}
	return nil
}

func (l *monitor) deadStream() string {
	return cmp.Or(l.set.Text("invalidate.dead_stream"), l.set.Text("stream")+"_DEAD")
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
			if m, err := stream.GetMsg(ctx, c.Floor+1); err == nil { // it may have expired
				c.Oldest = m.Time
			}
		}
	}
	return out, nil
}
