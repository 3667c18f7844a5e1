package relay

import (
	"context"
	"sync"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// receiptTimeout bounds writing one receipt.
const receiptTimeout = 5 * time.Second

// recorder writes receipts, one for all acks of an interval. Receipts are evidence: nothing waits for them. The publisher notes,
// and the recorder's own goroutine writes.
type recorder struct {
	r     *Relay
	wrote int64 // position; owned by run

	mu     sync.Mutex
	latest table.Receipt
}

func (rec *recorder) note(position int64, sequence uint64) {
	rec.mu.Lock()
	rec.latest.Position, rec.latest.Sequence = position, sequence
	rec.mu.Unlock()
}

// run writes until stop is closed, and once more then. It writes what resume found beyond the last receipt at once, so that a relay
// that is killed again and again does not scan more each time.
func (rec *recorder) run(ctx context.Context, stop <-chan struct{}) {
	rec.write(ctx)
	tick := time.NewTicker(rec.r.cfg.ReceiptEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			rec.write(ctx)
		case <-stop:
			rec.write(ctx)
			return
		}
	}
}

func (rec *recorder) write(ctx context.Context) {
	rec.mu.Lock()
	receipt := rec.latest
	rec.mu.Unlock()
	if receipt.Position == rec.wrote {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, receiptTimeout)
	defer cancel()
	if err := rec.r.table.AppendReceipt(ctx, rec.r.pool, receipt, rec.r.cfg.Name); err != nil {
		rec.r.log.Warn("receipt not written, the next one covers it", "position", receipt.Position, "err", err)
		return
	}
	rec.wrote = receipt.Position
	crash.Point("receipt")
}
