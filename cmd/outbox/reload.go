package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// reloads counts how often the rules were read again.
type reloads struct{ done, refused prometheus.Counter }

func newReloads() *reloads {
	return &reloads{
		done:    prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_invalidator_reloads_total", Help: "Times that the rules were read again."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_invalidator_reload_errors_total", Help: "Times that rules could not be read again, and the old ones stayed."}),
	}
}

// onHangup reads the rules again on each SIGHUP until ctx ends. stop waits for the end of it.
func (r *reloads) onHangup(ctx context.Context, s settings, v *invalidate.Invalidator, log *slog.Logger) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals, forget := hangups()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				r.reload(ctx, s, v, log)
			}
		}
	}()
	return func() { cancel(); forget(); <-ended }
}

// reload leaves the old rules where the new ones cannot be read.
func (r *reloads) reload(ctx context.Context, s settings, v *invalidate.Invalidator, log *slog.Logger) {
	set, err := readRules(s)
	if err == nil {
		err = v.Reload(ctx, set)
	}
	if err != nil {
		r.refused.Inc()
		log.Error("rules not read again, going on with the old ones", "err", err)
		return
	}
	r.done.Inc()
	log.Info("rules read again", "n", set.Len())
}
