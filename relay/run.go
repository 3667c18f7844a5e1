package relay

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// steadyTerm is how long a session has to last, without anything acknowledged, for the next one to be opened at once.
const steadyTerm = time.Second

// Run relays until ctx ends, then finishes what is in flight within Config.Grace and returns nil. It waits for ever
// for servers that are away. An error means that going on needs a person: ErrStream, ErrRecreated, ErrRefused, or a
// schema that is not migrated. Call it once.
func (r *Relay) Run(ctx context.Context) error {
	pause := newPause()
	for ctx.Err() == nil {
		began := time.Now()
		err := r.lead(ctx)
		if fatal(err) {
			return fmt.Errorf("relay: %w", err)
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		if time.Since(began) > steadyTerm || r.stats.lastAck.Load() > began.UnixNano() {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		r.stats.failed(err)
		r.log.Warn("session ended", "wait", wait.Round(time.Millisecond), "err", err)
		sleep(ctx, wait)
	}
	return nil
}

func newPause() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
}

// sleep waits, or not longer than ctx.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// lead opens a session, waits in it to become the leader, and serves a term. The lock only saves work: what keeps
// two leaders from doing harm is the primary key of the plan and the sequence that the stream expects.
func (r *Relay) lead(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, 15*time.Second)
	s, err := r.table.OpenSession(open, r.pool.Config().ConnConfig.Copy(), r.cfg.Name)
	cancel()
	if err != nil {
		return err
	}
	defer s.Close()
	for said := false; ; said = true {
		try, cancel := context.WithTimeout(ctx, requestTimeout)
		leads, err := s.Lead(try)
		cancel()
		if err != nil {
			return err
		}
		if leads || crash.Forced("lead") {
			break
		}
		if !said {
			r.log.Info("standing by: another relay leads")
		}
		sleep(ctx, r.cfg.StandbyPoll/2+time.Duration(rand.Int64N(int64(r.cfg.StandbyPoll)+1)))
		if ctx.Err() != nil {
			return nil
		}
	}
	settle, cancel := context.WithTimeout(ctx, queryTimeout)
	home, err := s.Settle(settle)
	cancel()
	if err != nil {
		return err
	}
	if home.FailedOver() {
		r.log.Warn("the database failed over since the last relay; what it lost, the stream may still have", "timeline", home.Now.Timeline, "before", home.Last.Timeline)
	}
	r.log.Info("leading", "stream", r.cfg.Stream, "schema", r.table.Schema())
	r.stats.leads.Store(true)
	defer func() {
		r.stats.leads.Store(false)
		r.stats.asleep.Store(false)
	}()
	return r.term(ctx, s)
}

// term serves until ctx ends or the session is lost: wait while paused, read where the stream ends, publish from there on until
// there is a doubt or a pause, and again.
func (r *Relay) term(ctx context.Context, s *table.Session) error {
	work, cancel := r.graceful(ctx)
	defer cancel()
	var background sync.WaitGroup
	defer background.Wait()
	keep, stopKeeping := context.WithCancel(ctx)
	defer stopKeeping()
	house := housekeeper{r: r, told: make(map[string]bool)}
	background.Go(func() { house.run(keep) })

	pause, stuck := newPause(), time.Time{}
	var last *doubt
	r.stats.position.Store(0) // of this term; others may have led in between
	for ctx.Err() == nil {
		if err := r.hold(ctx, s); ctx.Err() != nil {
			return nil
		} else if err != nil {
			return err
		}
		before := r.stats.position.Load()
		err := r.window(ctx, work, s, last)
		r.stats.connected.Store(false)
		last = nil
		var session *sessionError
		switch {
		case err == nil, ctx.Err() != nil:
			continue
		case fatal(err):
			return err
		case errors.As(err, &session):
			return session.err
		}
		errors.As(err, &last)
		if r.stats.position.Load() != before {
			pause.Reset()
		}
		wait := pause.NextBackOff()
		if last != nil && last.class != unavailable && r.stats.position.Load() != before {
			wait = 0 // reading the end of the stream is all that it needs
		}
		if errors.Is(err, errLost) && r.nc.IsConnected() {
			wait = 0 // it is back already
		}
		r.stats.failed(err)
		r.log.Warn("publishing paused", "wait", wait.Round(time.Millisecond), "err", err)
		if err := r.alive(ctx, s, func() error { r.wait(ctx, wait); return nil }); err != nil && ctx.Err() == nil {
			return err
		}
		stuck = r.detour(ctx, stuck, r.stats.position.Load() != before)
		if err := r.ping(ctx, s); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// wait waits before the next try, but not longer than until a lost connection to the broker is back.
func (r *Relay) wait(ctx context.Context, d time.Duration) {
	connected := r.nc.StatusChanged(nats.CONNECTED)
	defer r.nc.RemoveStatusListener(connected)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-connected:
	case <-ctx.Done():
	}
}

// graceful is a context that outlives ctx by Config.Grace.
func (r *Relay) graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(r.cfg.Grace, cancel)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() { stop(); cancel() }
}

// sessionError marks an error of the session: the term is over.
type sessionError struct{ err error }

func (e *sessionError) Error() string { return e.err.Error() }
func (e *sessionError) Unwrap() error { return e.err }

// window reads where the stream ends, does what the last doubt asks for, and publishes until the next one. Three
// goroutines beside it, the source, the recorder and the reconciler, end with it.
func (r *Relay) window(ctx, work context.Context, s *table.Session, last *doubt) error {
	// Before the end is read: what happens to the connection afterwards is a doubt about it.
	lost := r.nc.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED)
	defer r.nc.RemoveStatusListener(lost)
	var at *place
	var freshID int64
	err := r.alive(work, s, func() (err error) {
		if at, err = r.resume(work); err != nil {
			return err
		}
		freshID, err = r.mend(work, last, at)
		return err
	})
	if err != nil {
		return r.keep(work, s, err)
	}
	r.stats.connected.Store(true)

	stop, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan []table.Planned, 1)
	src := &source{r: r, s: s, next: at.next, out: batches}
	planned := make(chan error, 1)
	go func() { planned <- src.run(work, stop) }()

	r.credit(at)
	rec := &recorder{r: r, wrote: at.receipts, latest: table.Receipt{Stream: at.stream, Position: at.receipts}}
	if found := at.next - 1; found > at.receipts { // acknowledged, and the receipt got lost
		rec.note(found, uint64(found+at.base))
	}
	stopRecording := make(chan struct{})
	recorded := make(chan struct{})
	go func() { defer close(recorded); rec.run(work, stopRecording) }()

	watch := &reconciler{r: r, at: at, changed: make(chan error, 1)}
	watched := make(chan struct{})
	go func() { defer close(watched); watch.run(stop) }()

	err = r.publish(work, at, batches, rec, freshID, lost, watch.changed)
	cancel()
	<-watched
	r.suspects = watch.suspects
	for range batches { // what the source hands out after the last look is planned, and found again
	}
	if planErr := <-planned; planErr != nil && (err == nil || !fatal(err)) {
		err = &sessionError{planErr}
	}
	close(stopRecording)
	<-recorded
	return err
}

// credit counts what was acknowledged in this term and whose acks got lost: the stream has it.
func (r *Relay) credit(at *place) {
	found := at.next - 1
	if before := r.stats.position.Load(); before > 0 && found > before {
		r.stats.published.Add(uint64(found - before))
	}
	r.stats.position.Store(found)
	r.stats.sequence.Store(uint64(max(found+at.base, 0)))
}
