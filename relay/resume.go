package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seed-6eff6314/outbox-relay/internal/crash"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox"
)

// place is where to go on: position next, at sequence next + base when chained.
type place struct {
	*target
	next     int64
	base     int64
	receipts int64  // position of the last receipt
	believed uint64 // the last sequence that the server wants for next, where that is not the stream's; 0 for none
}

// before is the sequence that the stream has to end with before a position.
func (at *place) before(position int64) int64 {
	if position == at.next && at.believed > 0 {
		return int64(at.believed)
	}
	return position + at.base - 1
}

// resume reads where the stream ends, and from that what comes next.
//
// What was acknowledged in order is known to be in the stream (known). From there to the end, every message is held
// against the plan: a window that a foreign message got into was refused as many messages as came in between, and the
// rest was taken. Foreign messages at the end move the base. Others stand where events belong: those get a new
// position at the end of the plan. A stream that ends before what was acknowledged has lost it: publishing goes on
// from its end.
func (r *Relay) resume(ctx context.Context) (*place, error) {
	receipt, all, err := r.evidence(ctx) // before the stream, so that a base set after its end was read is refused
	if err != nil {
		return nil, err
	}
	t, err := r.ensureStream(ctx)
	if err != nil {
		return nil, err
	}
	r.stats.resumes.Add(1)
	if r.cfg.Shared {
		return r.resumeShared(ctx, t, receipt)
	}
	log := baseLog{stream: t.stream, all: all}
	if !log.started() {
		return r.begin(ctx, t, log)
	}
	known := log.first() - 1
	if same(receipt.Stream, t.stream) {
		known = max(known, receipt.Position)
	}
	if p, _ := log.positionAt(t.last); p < known {
		r.wentBack(p, known, t.last)
		known = max(p-1, log.first()-1) // the last message is looked at
	}
	found, err := r.scan(ctx, t, log, known)
	if err != nil {
		return nil, err
	}
	if len(found.strays) > 0 {
		return nil, &strays{ids: found.strays, after: found.low, end: found.end}
	}
	if err := r.replan(ctx, found); err != nil {
		return nil, err
	}
	if err := r.heal(ctx, t, log, r.suspects); err != nil {
		return nil, err
	}
	r.suspects = nil
	reason, err := r.skip(ctx, found, "foreign messages")
	if err != nil {
		return nil, err
	}
	at, err := r.settle(ctx, t, log, found, reason)
	if err != nil {
		return nil, err
	}
	if same(receipt.Stream, t.stream) {
		at.receipts = receipt.Position
	}
	return at, nil
}

// wentBack counts and says what was acknowledged and is gone from the end of the stream, once: until it is published again,
// every resume finds it.
func (r *Relay) wentBack(to, from int64, end uint64) {
	n := from - to
	if from == r.lostFrom {
		n = max(r.lostTo-to, 0)
	}
	if n > 0 {
		r.lostFrom, r.lostTo = from, to
		r.stats.lost.Add(uint64(n))
		r.log.Warn("stream lost acknowledged messages: publishing them again", "stream", r.cfg.Stream, "n", n, "sequence", end)
	}
}

// evidence is what the table says of the stream.
func (r *Relay) evidence(ctx context.Context) (table.Receipt, []table.Base, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	receipt, err := r.table.LastReceipt(ctx, r.pool, r.cfg.Stream)
	if err != nil {
		return receipt, nil, err
	}
	all, err := r.table.Bases(ctx, r.pool)
	return receipt, all, err
}

// begin starts a stream that has no base: a new one, or one that was made again.
func (r *Relay) begin(ctx context.Context, t *target, log baseLog) (*place, error) {
	if !slices.ContainsFunc(log.all, func(b table.Base) bool { return b.Stream.Name == t.stream.Name }) {
		return r.settleAnew(ctx, t, log, "first")
	}
	if r.cfg.OnRecreate == Halt {
		return nil, r.recreated(t)
	}
	r.log.Warn("stream was recreated: publishing again what the table has", "stream", r.cfg.Stream)
	return r.settleAnew(ctx, t, log, "recreated stream")
}

// settleAnew begins a stream with the first event that the table has.
func (r *Relay) settleAnew(ctx context.Context, t *target, log baseLog, reason string) (*place, error) {
	var f found
	if _, err := r.skip(ctx, &f, reason); err != nil {
		return nil, err
	}
	return r.settle(ctx, t, log, &f, reason)
}

// skip goes on with the first event that the table has, when those between it and what was found were dropped: only a
// stream that lost more than the retention keeps comes to that.
func (r *Relay) skip(ctx context.Context, f *found, reason string) (string, error) {
	oldest, err := r.oldest(ctx)
	if err != nil || oldest <= f.last+1 {
		return reason, err
	}
	if f.last > 0 {
		r.stats.gone.Add(uint64(oldest - f.last - 1))
		r.log.Error("stream lost messages whose events the table has dropped already: they are gone", "stream", r.cfg.Stream, "n", oldest-f.last-1, "position", f.last+1)
		reason = "dropped events"
	}
	f.low, f.last = oldest-1, oldest-1
	return reason, nil
}

func (r *Relay) recreated(t *target) error {
	return fmt.Errorf("%w: stream %s was made at %s; run outbox relay with --on-recreate republish to fill it again from the table",
		ErrRecreated, r.cfg.Stream, t.stream.Created.Format("2006-01-02 15:04:05"))
}

// settle makes the position after the last one found the one that goes to the stream's next sequence, and appends that
// to the log of bases unless its newest row says so already.
func (r *Relay) settle(ctx context.Context, t *target, log baseLog, f *found, reason string) (*place, error) {
	next := f.last + 1
	b := table.Base{N: 1, Stream: t.stream, From: next, Base: int64(t.last) + 1 - next}
	if f.base == b.Base && f.from > 0 {
		b.From = min(f.from, next)
	}
	if newest, ok := log.newest(); !ok || newest.From > next || newest.Base != b.Base {
		if n := len(log.all); n > 0 {
			b.N = log.all[n-1].N + 1
		}
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		if err := r.table.AppendBase(ctx, r.pool, b, reason, r.cfg.Name); err != nil {
			return nil, err
		}
		crash.Point("rebased")
		r.stats.rebases.Add(1)
		r.log.Info("base set", "stream", r.cfg.Stream, "position", b.From, "sequence", b.From+b.Base, "reason", reason)
	}
	return &place{target: t, next: next, base: b.Base}, nil
}

// resumeShared goes on after the last receipt: others write too, so the end of the stream says nothing.
func (r *Relay) resumeShared(ctx context.Context, t *target, receipt table.Receipt) (*place, error) {
	if receipt.Position > 0 && !same(receipt.Stream, t.stream) {
		if r.cfg.OnRecreate == Halt {
			return nil, r.recreated(t)
		}
		oldest, err := r.oldest(ctx)
		return &place{target: t, next: oldest}, err
	}
	return &place{target: t, next: receipt.Position + 1, receipts: receipt.Position}, nil
}

// baseLog is the log of bases, read for one stream.
type baseLog struct {
	stream table.Stream
	all    []table.Base
}

// same compares by the microsecond: PostgreSQL keeps no more.
func same(a, b table.Stream) bool {
	return a.Name == b.Name && a.Created.UnixMicro() == b.Created.UnixMicro()
}

// rows yields the rows of the stream, newest first.
func (l baseLog) rows(yield func(table.Base) bool) {
	for _, b := range slices.Backward(l.all) {
		if same(b.Stream, l.stream) && !yield(b) {
			return
		}
	}
}

func (l baseLog) newest() (table.Base, bool) {
	for b := range l.rows {
		return b, true
	}
	return table.Base{}, false
}

func (l baseLog) started() bool {
	_, ok := l.newest()
	return ok
}

// first is the lowest position that was ever meant for the stream.
func (l baseLog) first() int64 {
	first := int64(0)
	for b := range l.rows {
		if first == 0 || b.From < first {
			first = b.From
		}
	}
	return first
}

// baseOf is the base for a position: the newest row that holds for it.
func (l baseLog) baseOf(position int64) (base int64, ok bool) {
	for b := range l.rows {
		if b.From <= position {
			return b.Base, true
		}
	}
	return 0, false
}

// positionAt is the position that belongs at a sequence. Where a foreign message is known to stand, belongs is false and
// the position is the one before. 0 comes before everything.
func (l baseLog) positionAt(sequence uint64) (position int64, belongs bool) {
	ceiling := int64(-1) // positions from here on lie further on, says a newer row
	for b := range l.rows {
		p := int64(sequence) - b.Base
		if p >= b.From && ceiling >= 0 && p >= ceiling {
			return ceiling - 1, false
		}
		if p >= b.From {
			return p, true
		}
		if ceiling < 0 || b.From < ceiling {
			ceiling = b.From
		}
	}
	return l.first() - 1, false
}

// fatal says that an error ends Run: no waiting mends it.
func fatal(err error) bool {
	return errors.Is(err, ErrStream) || errors.Is(err, ErrRecreated) || errors.Is(err, ErrRemoved) || errors.Is(err, ErrRefused) ||
		errors.Is(err, table.ErrMoved) || errors.Is(err, table.ErrPooler) ||
		errors.Is(err, outbox.ErrNotMigrated) || errors.Is(err, outbox.ErrNewerSchema) || errors.Is(err, outbox.ErrMigrationGap)
}
