package staleness

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// A faultKind is what breaks.
type faultKind string

const (
	killRelay       faultKind = "relay killed"
	killInvalidator faultKind = "invalidator killed"
	restartNATS     faultKind = "NATS restarted"
	restartRedis    faultKind = "Redis restarted empty"
	partition       faultKind = "partition 3 s" // of the network between invalidator and Redis
	promote         faultKind = "Redis failed over"
)

// redelivers reports whether the invalidator processes the events of its redelivery window again after this fault.
func (k faultKind) redelivers() bool { return k == restartRedis || k == promote }

const (
	restartDelay  = 500 * time.Millisecond  // between the end of a process and its restart, as with a supervisor
	partitionTime = 3 * time.Second         // how long a partition lasts
	missedFor     = 1500 * time.Millisecond // how long the promoted replica was cut off
	repairTimeout = time.Minute             // an arm fails if it takes longer to recover from a fault
)

// injectFaults injects the faults of the arm in turn until ctx ends, and returns their windows. The last fault comes after
// four fifths of the load. The last one that makes the invalidator delete keys again comes after three fifths: those deletes
// would hide keys that are stuck at the end.
func (e *environment) injectFaults(ctx context.Context, c clock) (windows []Window, err error) {
	for i := 0; len(e.arm.Faults) > 0; i++ {
		kind, at := e.arm.Faults[i%len(e.arm.Faults)], time.Duration(i+1)*e.cfg.FaultEvery-e.cfg.FaultEvery/4
		if at > e.cfg.Duration*8/10 {
			break
		}
		if kind.redelivers() && at > e.cfg.Duration*6/10 {
			continue
		}
		if wait.For(ctx, at-c.now()) != nil {
			break
		}
		w, err := e.inject(context.WithoutCancel(ctx), kind, c)
		if err != nil {
			return windows, fmt.Errorf("%s: %w", w.Fault, err)
		}
		windows = append(windows, w)
		fmt.Fprintf(e.cfg.Log, "    %5.1fs %s, repaired after %.1fs, caught up after %.1fs; %s\n", w.From.Seconds(), w.Fault, (w.Healed - w.From).Seconds(), (w.To - w.From).Seconds(), w.Note)
	}
	return windows, nil
}

// inject breaks one thing, repairs it, and waits until the backlog of that time is processed.
func (e *environment) inject(ctx context.Context, kind faultKind, c clock) (w Window, err error) {
	ctx, cancel := context.WithTimeout(ctx, repairTimeout)
	defer cancel()
	w = Window{Fault: string(kind), From: c.now()}
	over := e.catchUp
	switch kind {
	case killRelay:
		e.relay.Kill()
		err = errors.Join(wait.For(ctx, restartDelay), e.startRelay())
	case killInvalidator:
		e.invalidator.Kill()
		err = errors.Join(wait.For(ctx, restartDelay), e.startInvalidator())
	case restartNATS:
		err = errors.Join(e.nats.Stop(), wait.For(ctx, restartDelay), e.nats.Start())
	case restartRedis:
		err = errors.Join(e.redis.Kill(), wait.For(ctx, restartDelay), e.redis.Start(ctx))
	case partition:
		e.link.Stall(faultnet.ToServer)
		e.link.Stall(faultnet.ToClient)
		err = wait.For(ctx, partitionTime)
		e.link.Heal()
	case promote:
		over, w.Note, err = e.failOver(ctx)
	}
	if err != nil {
		return w, err
	}
	w.Healed = c.now()
	err = over(ctx)
	w.To = c.now()
	return w, err
}

// catchUp inserts an event and waits until it is published and the consumer that deletes at once has acknowledged it and
// everything before it.
func (e *environment) catchUp(ctx context.Context) error {
	e.probes++
	probe := fmt.Sprintf("%s.probe-%d.updated", subject, e.probes)
	if _, err := e.table.InsertAndCommit(ctx, e.pool, event.Event{Subject: probe}); err != nil {
		return err
	}
	var seq uint64
	err := await(ctx, repairTimeout, "the probe in the stream", func(ctx context.Context) error {
		str, err := e.js.Stream(ctx, stream)
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
		return errors.Join(err, e.relay.checkRunning())
	}
	err = await(ctx, repairTimeout, "the acknowledgement of the probe", func(ctx context.Context) error {
		cons, err := e.js.Consumer(ctx, stream, durable)
		if err == nil && cons.CachedInfo().AckFloor.Stream < seq {
			err = fmt.Errorf("acknowledged up to sequence %d, want %d", cons.CachedInfo().AckFloor.Stream, seq)
		}
		return err
	})
	if err != nil {
		return errors.Join(err, e.invalidator.checkRunning())
	}
	return nil
}
