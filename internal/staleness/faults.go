package staleness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A faultKind is what breaks.
type faultKind string

const (
	killRelay       faultKind = "relay killed"
	killInvalidator faultKind = "invalidator killed"
	restartNATS     faultKind = "NATS restarted"
	restartRedis    faultKind = "Redis restarted empty"
	partition       faultKind = "partition 3 s" // between invalidator and Redis
	promote         faultKind = "Redis failed over"
)

// replays says whether the invalidator works the last minute off again because of it.
func (k faultKind) replays() bool { return k == restartRedis || k == promote }

const (
	restartPause = 500 * time.Millisecond  // how long a killed one is away, as with a supervisor
	cutFor       = 3 * time.Second         // how long a partition lasts
	missedFor    = 1500 * time.Millisecond // how much a promoted replica has missed
	healWithin   = time.Minute             // an arm fails if a fault takes longer to get over
)

// faults breaks what the arm says in turn, and returns the windows. The last fault comes after four fifths of the load; the
// last that has the invalidator delete things again after three: what it deletes then would hide what is stuck at the end.
func (s *stage) faults(ctx context.Context, c clock) (windows []Window, err error) {
	for i := 0; len(s.arm.Faults) > 0; i++ {
		kind, at := s.arm.Faults[i%len(s.arm.Faults)], time.Duration(i+1)*s.cfg.FaultEvery-s.cfg.FaultEvery/4
		if at > s.cfg.Duration*8/10 {
			break
		}
		if kind.replays() && at > s.cfg.Duration*6/10 {
			continue
		}
		if !rest(ctx, at-c.now()) {
			break
		}
		w, err := s.fault(context.WithoutCancel(ctx), kind, c)
		if err != nil {
			return windows, fmt.Errorf("%s: %w", w.Fault, err)
		}
		windows = append(windows, w)
		fmt.Fprintf(s.cfg.Log, "    %5.1fs %s, healed after %.1fs, over after %.1fs; %s\n", w.From.Seconds(), w.Fault, (w.Healed - w.From).Seconds(), (w.To - w.From).Seconds(), w.Note)
	}
	return windows, nil
}

// fault breaks one thing, mends it, and waits until what came up to then is worked off.
func (s *stage) fault(ctx context.Context, kind faultKind, c clock) (w Window, err error) {
	ctx, cancel := context.WithTimeout(ctx, healWithin)
	defer cancel()
	w = Window{Fault: string(kind), From: c.now()}
	over := s.worksOff
	switch kind {
	case killRelay:
		s.relay.kill()
		rest(ctx, restartPause)
		err = s.startRelay()
	case killInvalidator:
		s.invalidator.kill()
		rest(ctx, restartPause)
		err = s.startInvalidator()
	case restartNATS:
		err = s.nats.Stop()
		rest(ctx, restartPause)
		err = errors.Join(err, s.nats.Start())
	case restartRedis:
		err = s.redis.Kill()
		rest(ctx, restartPause)
		err = errors.Join(err, s.redis.Start(ctx))
	case partition:
		s.link.Stall(faultnet.ToServer)
		s.link.Stall(faultnet.ToClient)
		rest(ctx, cutFor)
		s.link.Heal()
	case promote:
		over, w.Note, err = s.failOver(ctx)
	}
	if err != nil {
		return w, err
	}
	w.Healed = c.now()
	err = over(ctx)
	w.To = c.now()
	return w, err
}

// worksOff waits until an event that is inserted now is published, and the consumer that deletes at once has done it and
// all that came before.
func (s *stage) worksOff(ctx context.Context) error {
	s.probes++
	probe := fmt.Sprintf("%s.probe-%d.updated", subject, s.probes)
	if _, err := s.table.InsertAndCommit(ctx, s.pool, event.Event{Subject: probe}); err != nil {
		return err
	}
	var seq uint64
	err := await(ctx, healWithin, "probe in stream", func(ctx context.Context) error {
		str, err := s.js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		msg, err := str.GetLastMsgForSubject(ctx, probe)
		if err == nil {
			seq = msg.Sequence
		}
		return err
	})
	if err != nil {
		return errors.Join(err, s.relay.ended())
	}
	err = await(ctx, healWithin, "probe worked off", func(ctx context.Context) error {
		cons, err := s.js.Consumer(ctx, stream, durable)
		if err == nil && cons.CachedInfo().AckFloor.Stream < seq {
			err = fmt.Errorf("worked off up to %d of %d", cons.CachedInfo().AckFloor.Stream, seq)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, s.invalidator.ended())
	}
	return nil
}
