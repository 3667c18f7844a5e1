package relay

import (
	"context"
	"errors"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// houseEvery is how often the leader looks after the partitions.
// At a million events a second it makes them in time.
const houseEvery = 5 * time.Second

// houseIdle is how much less often it looks while the relay sleeps and nothing comes.
const houseIdle = 12

// housekeeper makes partitions ahead and drops those that nobody needs any more, while this relay leads. Its own goroutine
// owns it.
type housekeeper struct {
	r    *Relay
	told map[string]bool // what was said once in this term

	looked  time.Time
	batches uint64 // planned by then
}

func (h *housekeeper) run(ctx context.Context) {
	for ctx.Err() == nil {
		if !h.idle() {
			h.looked, h.batches = time.Now(), h.r.stats.batches.Load()
			h.look(ctx)
		}
		sleep(ctx, h.r.cfg.HouseEvery)
	}
}

// idle says that there is nothing to look after: nothing came, nothing waits, and it is not long ago.
func (h *housekeeper) idle() bool {
	return h.r.stats.asleep.Load() && h.r.stats.batches.Load() == h.batches && time.Since(h.looked) < houseIdle*h.r.cfg.HouseEvery
}

func (h *housekeeper) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r := h.r
	if _, err := r.table.Extend(ctx, r.pool, r.retention()); err != nil && !errors.Is(err, table.ErrBusy) {
		h.warn(ctx, "partitions not made ahead; run outbox doctor", err)
	}
	if n, err := r.table.Net(ctx, r.pool); err != nil {
		h.warn(ctx, "default partition not looked at", err)
	} else {
		r.stats.net.Store(int64(n))
		if n > 0 {
			h.warn(ctx, "events lie in the default partition: they are relayed, and dropped when the last of them is due; run outbox doctor", nil)
		}
	}
	if r.cfg.Retention < 0 {
		return
	}
	if err := h.drop(ctx); err != nil {
		h.warn(ctx, "old partitions not dropped; run outbox partitions", err)
	}
}

// drop empties the partitions that are due, and drops those that were emptied before, oldest first. What a transaction uses
// is left to the next look.
func (h *housekeeper) drop(ctx context.Context) error {
	r := h.r
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
		if p.MadeAt.IsZero() { // the net stays
			continue
		}
		if _, err := r.table.DropPartition(ctx, r.pool, p.Name); err != nil && !errors.Is(err, table.ErrBusy) {
			return err
		}
	}
	return nil
}

func (h *housekeeper) warn(ctx context.Context, what string, err error) {
	if h.told[what] || err != nil && ctx.Err() != nil {
		return
	}
	h.told[what] = true
	h.r.log.Warn(what, "err", err)
}

// retention is the one that sizes partitions.
func (r *Relay) retention() time.Duration {
	if r.cfg.Retention < 0 {
		return table.DefaultRetention
	}
	return r.cfg.Retention
}
