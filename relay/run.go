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
	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

const (
	// openTimeout bounds opening a session.
	openTimeout = 15 * time.Second
	// requestTimeout bounds one short request to a server.
	requestTimeout = stream.RequestTimeout
	// queryTimeout bounds one statement on the pool.
	queryTimeout = 30 * time.Second
	// steadyTerm is how long a session must last, without an ack, for the relay to open the next one at once.
	steadyTerm = time.Second
)

// Run relays until ctx ends, then finishes what is in flight within Config.Grace and returns nil. It waits indefinitely
// for servers that are not available. It returns an error only if a person has to act: ErrStream, ErrRecreated,
// ErrRemoved, ErrRefused, or an error about the schema, the cluster or a pooler. It must be called once.
func (r *Relay) Run(ctx context.Context) error {
	retry := newBackoff()
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
			retry.Reset()
		}
		pause := retry.NextBackOff()
		r.stats.failed(err)
		r.log.Warn("database session ended, opening another", "wait", pause.Round(time.Millisecond), "err", err)
		_ = wait.For(ctx, pause) // the loop checks ctx
	}
	return nil
}

// fatal reports whether an error ends Run: waiting cannot resolve it.
func fatal(err error) bool {
	for _, target := range []error{
		ErrStream, ErrRecreated, ErrRemoved, ErrRefused,
		table.ErrMoved, table.ErrPooler, outbox.ErrNotMigrated, outbox.ErrNewerSchema, outbox.ErrMigrationGap,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func newBackoff() *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(backoff.WithInitialInterval(50*time.Millisecond),
		backoff.WithMaxInterval(5*time.Second), backoff.WithMaxElapsedTime(0))
}

// lead opens a session, waits in it to become the leader, and serves a term. The leader lock only saves work. Two leaders
// can do no harm: the primary key of the plan lets one plan, and the stream expects a sequence from each message.
func (r *Relay) lead(ctx context.Context) error {
	open, cancel := context.WithTimeout(ctx, openTimeout)
	s, err := r.table.OpenSession(open, r.pool.Config().ConnConfig.Copy(), r.cfg.Name)
	cancel()
	if err != nil {
		return err
	}
	defer s.Close()
	if err := r.standBy(ctx, s); err != nil || ctx.Err() != nil {
		return err
	}
	settle, cancel := context.WithTimeout(ctx, queryTimeout)
	home, err := s.RecordCluster(settle)
	cancel()
	if err != nil {
		return err
	}
	if home.FailedOver() {
		r.log.Warn("the database failed over since the last relay; the stream may hold events that the database lost", "timeline", home.Now.Timeline, "before", home.Last.Timeline)
	}
	r.log.Info("leading", "stream", r.cfg.Stream, "schema", r.table.Schema())
	r.stats.leads.Store(true)
	defer func() {
		r.stats.leads.Store(false)
		r.stats.asleep.Store(false)
	}()
	return r.term(ctx, s)
}

// standBy returns nil when this relay leads or ctx ends.
func (r *Relay) standBy(ctx context.Context, s *table.Session) error {
	for logged := false; ; logged = true {
		try, cancel := context.WithTimeout(ctx, requestTimeout)
		leads, err := s.Lead(try)
		cancel()
		if err != nil {
			return err
		}
		if leads || crash.Forced("lead") {
			return nil
		}
		if !logged {
			r.log.Info("another relay leads, standing by")
		}
		pause := r.cfg.StandbyPoll/2 + time.Duration(rand.Int64N(int64(r.cfg.StandbyPoll)+1))
		if wait.For(ctx, pause) != nil {
			return nil
		}
	}
}

// term serves as the leader until ctx ends or the session is lost. It alternates two steps: wait while a person has paused the relay,
// and run a window until there is a doubt or a pause.
func (r *Relay) term(ctx context.Context, s *table.Session) error {
	work, cancel := r.graceful(ctx)
	defer cancel()
	var background sync.WaitGroup
	defer background.Wait()
	maintain, stop := context.WithCancel(ctx)
	defer stop()
	m := maintainer{r: r, logged: make(map[string]bool)}
	background.Go(func() { m.run(maintain) })

	retry, stuck := newBackoff(), time.Time{}
	var last *doubt
	r.stats.position.Store(0) // of this term: others may have led in between
	for ctx.Err() == nil {
		if err := r.holdWhilePaused(ctx, s); ctx.Err() != nil {
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
		progress := r.stats.position.Load() != before
		if progress {
			retry.Reset()
		}
		pause := retry.NextBackOff()
		switch {
		case last != nil && last.class != unavailable && progress:
			pause = 0 // the next window only has to read where the stream ends
		case errors.Is(err, errLost) && r.nc.IsConnected():
			pause = 0 // the connection is back already
		}
		r.stats.failed(err)
		r.log.Warn("publishing interrupted, resuming from the end of the stream", "wait", pause.Round(time.Millisecond), "err", err)
		if err := r.keepAlive(ctx, s, func() error { r.waitForBroker(ctx, pause); return nil }); err != nil && ctx.Err() == nil {
			return err
		}
		stuck = r.reconnectIfStuck(ctx, stuck, progress)
		if err := r.ping(ctx, s); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// waitForBroker waits for d, or until a lost connection to the broker is back.
func (r *Relay) waitForBroker(ctx context.Context, d time.Duration) {
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

// graceful returns a context that outlives ctx by Config.Grace.
func (r *Relay) graceful(ctx context.Context) (context.Context, context.CancelFunc) {
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(r.cfg.Grace, cancel)
		context.AfterFunc(work, func() { timer.Stop() })
	})
	return work, func() { stop(); cancel() }
}

// sessionError marks an error of the session, which ends the term.
type sessionError struct{ err error }

func (e *sessionError) Error() string { return e.err.Error() }
func (e *sessionError) Unwrap() error { return e.err }
