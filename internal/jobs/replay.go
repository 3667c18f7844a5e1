package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/outbox"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	replaySpan   = 20_000      // positions scanned in a step, at most
	replayBytes  = 8 << 20     // payload copied in a step, about
	clockMargin  = time.Minute // how far the time of an insert and that of its plan may disagree
	maxReplayIDs = 1000        // event ids in a query
	endOfTime    = "infinity"  // in PostgreSQL
	startOfTime  = "-infinity" // in PostgreSQL
	stampFormat  = time.RFC3339Nano
)

// ReplayQuery selects events to replay: those that meet every condition given.
type ReplayQuery struct {
	Since, Until   time.Time   // creation times; zero for no limit
	Subjects       []string    // NATS patterns, one of which must match
	Keys           []string    // the event must have one of them
	FromID, ToID   int64       // row ids, inclusive; 0 for no limit
	FromPosition   int64       // lowest position; 0 for no limit
	EventIDs       []uuid.UUID // at most 1000
	Prefix         string      // put before the subjects of the copies, with a dot; empty to keep them
	Limit          int64       // copies, at most; 0 for no limit
	AllowedMissing bool        // accept that retention has dropped some of the events
}

// Unlimited reports whether the query selects every event.
func (q *ReplayQuery) Unlimited() bool {
	return q.Since.IsZero() && q.Until.IsZero() && len(q.Subjects)+len(q.Keys)+len(q.EventIDs) == 0 && q.FromID == 0 && q.ToID == 0 && q.FromPosition == 0
}

// replaySpec is a ReplayQuery completed with what is determined once, at the start. It is the spec of the job.
type replaySpec struct {
	From     int64    `json:"from"` // positions
	To       int64    `json:"to"`
	Since    string   `json:"since"`
	Until    string   `json:"until"`
	Subjects []string `json:"subjects,omitempty"` // shown to people only
	Patterns []string `json:"patterns,omitempty"` // regular expressions of PostgreSQL
	Keys     []string `json:"keys,omitempty"`
	FromID   int64    `json:"from_id"`
	ToID     int64    `json:"to_id"`
	Rows     []int64  `json:"rows,omitempty"` // of EventIDs; if set, no other condition applies
	Prefix   string   `json:"prefix,omitempty"`
	Limit    int64    `json:"limit"`
}

// StartReplay records a replay of the events that are planned now and that the query selects. A replay inserts
// copies: new rows that name their original, after all other rows, in the order of the originals.
//
// It does not copy copies, unless the query names their id, or they replace an event that was parked. Nor does it
// copy events that are still parked: see package dead. It returns ErrDropped if retention has dropped selected events
// and the query does not allow that. The role must be a member of outbox_owner.
func (t *Store) StartReplay(ctx context.Context, db outbox.DB, q *ReplayQuery) (*Job, error) {
	spec, err := t.replaySpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	return t.start(ctx, db, "replay", spec)
}

func (t *Store) replaySpec(ctx context.Context, db outbox.DB, q *ReplayQuery) (*replaySpec, error) {
	s := &replaySpec{Since: startOfTime, Until: endOfTime, Subjects: q.Subjects, Keys: q.Keys, FromID: max(q.FromID, 0), ToID: math.MaxInt64, Prefix: q.Prefix, Limit: math.MaxInt64}
	if q.ToID > 0 {
		s.ToID = q.ToID
	}
	if q.Limit > 0 {
		s.Limit = q.Limit
	}
	if !q.Since.IsZero() {
		s.Since = q.Since.Format(stampFormat)
	}
	if !q.Until.IsZero() {
		s.Until = q.Until.Format(stampFormat)
	}
	for _, subject := range q.Subjects {
		pattern, err := event.SubjectPattern(subject)
		if err != nil {
			return nil, err
		}
		s.Patterns = append(s.Patterns, pattern.String())
	}
	if len(q.EventIDs) > 0 {
		return s, t.replayRows(ctx, db, q, s)
	}
	cursor, err := t.Cursor(ctx, db)
	if err != nil {
		return nil, err
	}
	oldest, err := t.OldestPosition(ctx, db)
	if err != nil {
		return nil, err
	}
	s.To = cursor.LastPosition
	s.From = min(max(oldest, q.FromPosition), s.To+1)
	if err := t.refuseDropped(ctx, db, q, oldest); err != nil {
		return nil, err
	}
	if q.FromID > 0 || q.ToID > 0 {
		if err := t.narrow(ctx, db, s); err != nil {
			return nil, err
		}
	}
	if !q.Since.IsZero() {
		from, err := t.SearchPlanned(ctx, db, q.Since.Add(-clockMargin), s.To)
		if err != nil {
			return nil, err
		}
		s.From = min(max(s.From, from), s.To+1)
	}
	return s, nil
}

func (t *Store) replayRows(ctx context.Context, db outbox.DB, q *ReplayQuery, s *replaySpec) error {
	if len(q.EventIDs) > maxReplayIDs {
		return fmt.Errorf("replay: %w: want at most %d event ids, found %d", event.ErrInvalid, maxReplayIDs, len(q.EventIDs))
	}
	for _, id := range q.EventIDs {
		found, err := t.TrailOf(ctx, db, id)
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].ID != id {
			if !q.AllowedMissing {
				return fmt.Errorf("replay: %w: the table has no event %s", ErrDropped, id)
			}
			continue
		}
		s.Rows = append(s.Rows, found[0].RowID)
	}
	return nil
}

// refuseDropped returns ErrDropped if the query reaches back before what the table still has.
func (t *Store) refuseDropped(ctx context.Context, db outbox.DB, q *ReplayQuery, oldest int64) error {
	if q.AllowedMissing {
		return nil
	}
	since, fromID := any(endOfTime), int64(math.MaxInt64)
	if !q.Since.IsZero() {
		since = q.Since
	}
	if q.FromID > 0 {
		fromID = q.FromID
	}
	var n, id int64
	var created *time.Time
	if err := db.QueryRow(ctx, t.q.DroppedSince, since, fromID).Scan(&n, &created, &id); err != nil {
		return fmt.Errorf("read what retention dropped: %w", err)
	}
	if n == 0 && (q.FromPosition == 0 || q.FromPosition >= oldest) {
		return nil
	}
	rest := "no events"
	if created != nil {
		rest = fmt.Sprintf("events from id %d on, created at %s, position %d", id, created.Format(time.RFC3339), oldest)
	}
	return fmt.Errorf("replay: %w; the table has %s", ErrDropped, rest)
}

// narrow limits the positions to those of the row ids that the query selects.
func (t *Store) narrow(ctx context.Context, db outbox.DB, s *replaySpec) error {
	var first, last *int64
	if err := db.QueryRow(ctx, t.q.PositionsOfIDs, s.FromID, s.ToID).Scan(&first, &last); err != nil {
		return fmt.Errorf("find row ids in the plan: %w", err)
	}
	if first == nil {
		s.From = s.To + 1
		return nil
	}
	s.To = min(s.To, *last)
	s.From = min(max(s.From, *first), s.To+1)
	return nil
}

// ReplayStep copies the next events of a replay, at most n, in one transaction, and updates job.Last. It returns
// ErrStepTaken if another process did the step.
func (t *Store) ReplayStep(ctx context.Context, db outbox.DB, job *Job, n int) error {
	var s replaySpec
	if err := json.Unmarshal(job.Spec, &s); err != nil {
		return fmt.Errorf("replay %s: read its spec: %w", job.ID, err)
	}
	if len(s.Rows) > 0 || s.To == 0 {
		return t.takeStep(ctx, db, job, t.q.ReplayRows, job.ID.String(), s.Rows, s.Prefix)
	}
	from, err := job.position(s.From)
	if err != nil {
		return err
	}
	span, before := min(max(job.span, int64(n)), replaySpan), job.Last
	err = t.takeStep(ctx, db, job, t.q.ReplayStep, job.ID.String(), job.Last.N+1, from, s.To, span, n, replayBytes,
		s.Since, s.Until, s.Patterns, s.Keys, s.FromID, s.ToID, s.Prefix, job.Last.Scanned, job.Last.Events, s.Limit)
	if err == nil {
		job.span = nextSpan(span, job.Last.Scanned-before.Scanned, job.Last.Events-before.Events, int64(n))
	}
	return err
}

// nextSpan returns how many positions the next step scans, so that it finds about as many events as it may copy.
// Scanning a position costs time, and the next step scans again those after the last copy.
func nextSpan(span, seen, copied, most int64) int64 {
	switch {
	case seen < span:
		return seen
	case copied < most/2:
		return min(2*span, replaySpan)
	}
	return span
}

// position returns the position at which the next step begins.
func (j *Job) position(first int64) (int64, error) {
	if j.Last.N == 0 {
		return first, nil
	}
	var cursor struct {
		Position int64 `json:"position"`
	}
	if err := json.Unmarshal(j.Last.Cursor, &cursor); err != nil || cursor.Position == 0 {
		return 0, fmt.Errorf("%s %s: read its position %s: %w", j.Kind, j.ID, j.Last.Cursor, errors.Join(err, event.ErrInvalid))
	}
	return cursor.Position, nil
}

// replayTotal returns how many positions a replay scans.
func (j *Job) replayTotal() int64 {
	var s replaySpec
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		return 0
	}
	if len(s.Rows) > 0 {
		return int64(len(s.Rows))
	}
	return max(s.To-s.From+1, 0)
}
