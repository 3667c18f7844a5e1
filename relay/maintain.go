package relay

import (
	"context"
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

const (
	// maintainEvery is the default of Config.MaintainEvery. It creates partitions in time for a million events a second.
	maintainEvery = 5 * time.Second
	// maintainTimeout bounds one round.
	maintainTimeout = 30 * time.Second
	// idleFactor is how much less often an idle relay maintains the partitions.
	idleFactor = 12
)

// maintainer creates partitions ahead and drops those that are due, while this relay leads. Its own goroutine owns it.
type maintainer struct {
	r      *Relay
	logged map[string]bool // what was logged once in this term

	last    time.Time
	batches uint64 // planned by then
}

func (m *maintainer) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !m.idle() {
			m.last, m.batches = time.Now(), m.r.stats.batches.Load()
			m.maintain(ctx)
		}
		_ = wait.For(ctx, m.r.cfg.MaintainEvery) // the loop checks ctx
	}
}

// idle reports that nothing was planned since the last round, that nothing is pending, and that the round was recent.
func (m *maintainer) idle() bool {
	return m.r.stats.asleep.Load() && m.r.stats.batches.Load() == m.batches && time.Since(m.last) < idleFactor*m.r.cfg.MaintainEvery
}

func (m *maintainer) maintain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maintainTimeout)
	defer cancel()
	r := m.r
	if _, err := r.table.Extend(ctx, r.pool, r.retention()); err != nil && !errors.Is(err, table.ErrBusy) {
		m.warn(ctx, "partitions not created ahead, trying again; run outbox doctor", err)
	}
	if n, err := r.table.DefaultRows(ctx, r.pool); err != nil {
		m.warn(ctx, "default partition not checked, trying again", err)
	} else {
		r.stats.inDefault.Store(int64(n))
		if n > 0 {
			m.warn(ctx, "the default partition has events; they are published, and dropped together when the last of them is due; run outbox doctor", nil)
		}
	}
	if r.cfg.Retention < 0 {
		return
	}
	if err := m.drop(ctx); err != nil {
		m.warn(ctx, "old partitions not dropped, trying again; run outbox partitions", err)
	}
}

// drop empties the partitions that are due, and drops those that were emptied before, oldest first. It leaves a partition that a
// transaction uses to the next round.
func (m *maintainer) drop(ctx context.Context) error {
	r := m.r
	all, err := r.table.Partitions(ctx, r.pool, r.cfg.Retention)
	if err != nil {
		return err
	}
	for i := range all {
		p := &all[i]
		if p.State == table.PartitionDue {
			emptied, err := r.table.EmptyPartition(ctx, r.pool, p.Name, r.cfg.Retention)
			if err != nil && !errors.Is(err, table.ErrBusy) {
				return err
			}
			if !emptied {
				continue
			}
			r.stats.dropped.Add(1)
			r.log.Info("partition dropped", "partition", p.Name, "bytes", p.Bytes)
		} else if p.State != table.PartitionEmptied {
			continue
		}
		if p.CreatedAt.IsZero() { // the default partition stays
			continue
		}
		if _, err := r.table.DropPartition(ctx, r.pool, p.Name); err != nil && !errors.Is(err, table.ErrBusy) {
			return err
		}
	}
	return nil
}

// warn logs a message once in a term.
func (m *maintainer) warn(ctx context.Context, message string, err error) {
	if m.logged[message] || err != nil && ctx.Err() != nil {
		return
	}
	m.logged[message] = true
	m.r.log.Warn(message, "err", err)
}

// retention sizes the partitions.
func (r *Relay) retention() time.Duration {
	if r.cfg.Retention < 0 {
		return DefaultRetention
	}
	return r.cfg.Retention
}
