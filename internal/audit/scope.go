package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// scope is where an audit begins and ends.
type scope struct {
	*stream.State                // without a time of creation if the stream does not exist
	log           stream.BaseLog // maps positions to its sequences
	keeps         bool           // it keeps messages by limits, not until consumers acknowledge them
	shared        bool           // others write to it, so positions do not map to sequences
	clock         time.Time

	from, to, ended             uint64 // sequences to read, and the last one when the stream was read last
	firstPosition, lastPosition int64  // audited
	windowed                    bool   // these are not all positions
	acked                       int64  // position of the last receipt
	receipts                    bool   // that receipt is of this stream
	low, high                   int64  // row ids

	oldest   int64     // no event of the table has an earlier position
	head     int64     // row id up to which everything was planned
	now      time.Time // by the database's clock, at began
	began    time.Time
	status   table.Status
	paused   bool
	moved    bool // the relay made progress meanwhile
	accepted []uint64
}

// fix reads where everything ends: the receipts, then the stream, then the plan. In that order no receipt is ahead of the stream that was
// read, and no message ahead of the plan.
func (a *Audit) fix(ctx context.Context) (*scope, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	s, err := a.evidence(ctx)
	if err != nil {
		return nil, err
	}
	bounds, err := a.table.Bounds(ctx, a.pool)
	if err != nil {
		return nil, err
	}
	s.lastPosition, s.high, s.head, s.now, s.began = bounds.Position, bounds.RowID, bounds.Head, bounds.Now, time.Now()
	if s.oldest, err = a.table.OldestPosition(ctx, a.pool); err != nil {
		return nil, err
	}
	if s.firstPosition = s.oldest; s.log.Started() {
		s.firstPosition = max(s.firstPosition, s.log.First())
	}
	s.from, s.to, s.ended = max(s.First, 1), s.Last, s.Last
	if s.accepted, err = a.table.Accepted(ctx, a.pool, s.ID); err != nil {
		return nil, err
	}
	return s, a.narrow(ctx, s)
}

// evidence reads what the table knows of the stream, then the stream itself.
func (a *Audit) evidence(ctx context.Context) (*scope, error) {
	status, err := a.table.Status(ctx, a.pool, a.cfg.Stream)
	if err != nil {
		return nil, err
	}
	receipt, err := a.table.LastReceipt(ctx, a.pool, a.cfg.Stream)
	if err != nil {
		return nil, err
	}
	all, err := a.table.Bases(ctx, a.pool)
	if err != nil {
		return nil, err
	}
	_, paused, err := a.table.Paused(ctx, a.pool, table.PauseRelay)
	if err != nil {
		return nil, err
	}
	s, err := a.find(ctx)
	if err != nil {
		return nil, err
	}
	s.status, s.paused, s.acked, s.receipts = status, paused, receipt.Position, receipt.Position > 0 && stream.Same(receipt.Stream, s.ID)
	s.log = stream.BaseLog{Stream: s.ID, All: all}
	s.shared = !s.log.Started() && s.receipts
	return s, nil
}

// find reads the stream. One that does not exist is empty.
func (a *Audit) find(ctx context.Context) (*scope, error) {
	info, err := a.stream.Info(ctx, nil)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return &scope{State: &stream.State{ID: table.Stream{Name: a.cfg.Stream}, First: 1}, keeps: true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if info.TimeStamp.IsZero() {
		info.TimeStamp = time.Now()
	}
	return &scope{State: stream.NewState(info), keeps: info.Config.Retention == jetstream.LimitsPolicy, clock: info.TimeStamp}, nil
}

// readScope is evidence with a deadline.
func (a *Audit) readScope(ctx context.Context) (*scope, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return a.evidence(ctx)
}

// again takes over a later reading: what has expired meanwhile is not missing.
func (s *scope) again(now *scope) {
	s.State, s.log = now.State, now.log
	s.moved = s.moved || now.acked > s.acked
	s.status, s.paused = now.status, now.paused
}

// narrow limits the scope to Config.Since and Config.Until.
func (a *Audit) narrow(ctx context.Context, s *scope) (err error) {
	if a.cfg.Since.IsZero() && a.cfg.Until.IsZero() {
		return nil
	}
	s.windowed = true
	end := s.lastPosition
	if !a.cfg.Since.IsZero() {
		first, err := a.table.PlannedSince(ctx, a.pool, a.cfg.Since, end)
		if err != nil {
			return err
		}
		s.firstPosition = max(s.firstPosition, first)
	}
	if !a.cfg.Until.IsZero() {
		after, err := a.table.PlannedSince(ctx, a.pool, a.cfg.Until, end)
		if err != nil {
			return err
		}
		s.lastPosition = min(s.lastPosition, after-1)
	}
	low, high, err := a.table.IDRange(ctx, a.pool, s.firstPosition, s.lastPosition)
	if err != nil {
		return err
	}
	if s.low = low; low == 0 { // nothing is planned in it; later rows may be
		s.low = s.head + 1
	}
	if !a.cfg.Until.IsZero() {
		s.high = high
	}
	s.narrowSequences(!a.cfg.Until.IsZero())
	return nil
}

// narrowSequences leaves out the sequences that, by every base, cannot have a position of the scope.
func (s *scope) narrowSequences(ends bool) {
	if !s.log.Started() {
		return
	}
	low, high, any := int64(0), int64(0), false
	for b := range s.log.Rows() {
		if b.From > s.lastPosition {
			continue
		}
		if !any || b.Base < low {
			low = b.Base
		}
		if !any || b.Base > high {
			high = b.Base
		}
		any = true
	}
	if !any || s.firstPosition > s.lastPosition {
		s.to = s.from - 1
		return
	}
	s.from = max(s.from, uint64(max(s.firstPosition+low, 1)))
	if end := uint64(max(s.lastPosition+high, 0)); ends && end < s.to {
		s.to = end
	}
}

// covers reports whether the audit is about a position.
func (s *scope) covers(position int64) bool {
	return position <= s.lastPosition && (!s.windowed || position >= s.firstPosition)
}
