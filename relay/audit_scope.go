package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// scope is where an audit begins and ends.
type scope struct {
	*target         // the stream; without a time of creation when there is none
	log     baseLog // where positions lie in it
	keeps   bool    // its retention is by limits, not by what consumers acknowledge
	shared  bool    // others write to it: positions say nothing about sequences
	clock   time.Time

	from, to, ended             uint64 // sequences read, and where the stream ended when it was read last
	firstPosition, lastPosition int64  // judged
	windowed                    bool   // these are not all
	acked                       int64  // position of the last receipt
	receipts                    bool   // that is of this stream
	low, high                   int64  // row ids

	oldest   int64     // no event of the table has an earlier position
	head     int64     // row id up to which all was planned
	now      time.Time // by the clock of the database, at began
	began    time.Time
	status   table.Status
	paused   bool
	moved    bool // the relay has got further meanwhile
	accepted []uint64
}

// fix reads where everything ends: the receipts, then the stream, then the plan. So no receipt is ahead of the stream that was
// read, and no message ahead of the plan.
func (a *Audit) fix(ctx context.Context) (*scope, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	s, err := a.evidence(ctx)
	if err != nil {
		return nil, err
	}
	bounds, err := audit.In(a.table).Bounds(ctx, a.pool)
	if err != nil {
		return nil, err
	}
	s.lastPosition, s.high, s.head, s.now, s.began = bounds.Position, bounds.RowID, bounds.Head, bounds.Now, time.Now()
	if s.oldest, err = a.table.Oldest(ctx, a.pool); err != nil {
		return nil, err
	}
	if s.firstPosition = s.oldest; s.log.started() {
		s.firstPosition = max(s.firstPosition, s.log.first())
	}
	s.from, s.to, s.ended = max(s.target.first, 1), s.target.last, s.target.last
	if s.accepted, err = audit.In(a.table).Accepted(ctx, a.pool, s.stream); err != nil {
		return nil, err
	}
	return s, a.narrow(ctx, s)
}

// evidence is what the table says of the stream, and the stream of itself.
func (a *Audit) evidence(ctx context.Context) (*scope, error) {
	status, err := a.table.Status(ctx, a.pool, a.cfg.Stream)
	if err != nil {
		return nil, err
	}
	receipt, all, err := a.r.evidence(ctx)
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
	s.status, s.paused, s.acked, s.receipts = status, paused, receipt.Position, receipt.Position > 0 && same(receipt.Stream, s.stream)
	s.log = baseLog{stream: s.stream, all: all}
	s.shared = !s.log.started() && s.receipts
	return s, nil
}

// find asks for the stream; one that does not exist is empty.
func (a *Audit) find(ctx context.Context) (*scope, error) {
	none := &scope{target: &target{stream: table.Stream{Name: a.cfg.Stream}, first: 1}, keeps: true}
	if !a.r.nc.IsConnected() {
		return nil, fmt.Errorf("audit stream %s: %w", a.cfg.Stream, errAway)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	js, err := jetstream.New(a.r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	stream, err := js.Stream(ctx, a.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return none, nil
	}
	if err != nil {
		return nil, fmt.Errorf("audit stream %s: %w", a.cfg.Stream, err)
	}
	info := stream.CachedInfo()
	if info.TimeStamp.IsZero() {
		info.TimeStamp = time.Now()
	}
	return &scope{target: newTarget(info), keeps: info.Config.Retention == jetstream.LimitsPolicy, clock: info.TimeStamp}, nil
}

// look is evidence with a deadline.
func (a *Audit) look(ctx context.Context) (*scope, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	return a.evidence(ctx)
}

// again takes what a later look says of the stream's beginning: what has expired meanwhile is not missing.
func (s *scope) again(now *scope) {
	s.target, s.log = now.target, now.log
	s.moved = s.moved || now.acked > s.acked
	s.status, s.paused = now.status, now.paused
}

// narrow keeps to the window that was asked for.
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
		behind, err := a.table.PlannedSince(ctx, a.pool, a.cfg.Until, end)
		if err != nil {
			return err
		}
		s.lastPosition = min(s.lastPosition, behind-1)
	}
	low, high, err := audit.In(a.table).Span(ctx, a.pool, s.firstPosition, s.lastPosition)
	if err != nil {
		return err
	}
	if s.low = low; low == 0 { // nothing is planned in it: what follows may come to be
		s.low = s.head + 1
	}
	if !a.cfg.Until.IsZero() {
		s.high = high
	}
	s.narrowSequences(!a.cfg.Until.IsZero())
	return nil
}

// narrowSequences leaves out what no base says could belong to the window.
func (s *scope) narrowSequences(ends bool) {
	if !s.log.started() {
		return
	}
	low, high, any := int64(0), int64(0), false
	for b := range s.log.rows {
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

// judges says whether a position is one that the audit is about.
func (s *scope) judges(position int64) bool {
	return position <= s.lastPosition && (!s.windowed || position >= s.firstPosition)
}
