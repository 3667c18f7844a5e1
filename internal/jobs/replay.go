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
	replaySpan   = 20_000      // positions looked at in a step, at most
	replayBytes  = 8 << 20     // of payload copied in a step
	clockMargin  = time.Minute // by which the clocks of writers and planners may disagree
	maxReplayIDs = 1000        // events named one by one
	forever      = "infinity"  // as PostgreSQL writes it
	everBefore   = "-infinity" // likewise
	stampFormat  = time.RFC3339Nano
)

// ReplayQuery says which events to replay. Everything that is given has to hold.
type ReplayQuery struct {
	Since, Until   time.Time // when they were created; zero: no limit
	Subjects       []string  // patterns of NATS, one of which matches
	Keys           []string  // one of which it has
	FromID, ToID   int64     // row ids, both included; 0: no limit
	FromPosition   int64     // of the plan, included; 0: no limit
	EventIDs       []uuid.UUID
	Prefix         string // of the copies' subject, with a dot between; empty: the subject stays
	Limit          int64  // copies; 0: no limit
	AllowedMissing bool   // events that were asked for may have been dropped
}

// Unlimited says that the query asks for everything.
func (q *ReplayQuery) Unlimited() bool {
	return q.Since.IsZero() && q.Until.IsZero() && len(q.Subjects)+len(q.Keys)+len(q.EventIDs) == 0 && q.FromID == 0 && q.ToID == 0 && q.FromPosition == 0
}

// replaySpec is a query with everything that had to be found out once.
type replaySpec struct {
	From     int64    `json:"from"` // positions
	To       int64    `json:"to"`
	Since    string   `json:"since"`
	Until    string   `json:"until"`
	Subjects []string `json:"subjects,omitempty"` // for people
	Patterns []string `json:"patterns,omitempty"` // regular expressions of PostgreSQL
	Keys     []string `json:"keys,omitempty"`
	FromID   int64    `json:"from_id"`
	ToID     int64    `json:"to_id"`
	Rows     []int64  `json:"rows,omitempty"` // of events named one by one: then nothing else counts
	Prefix   string   `json:"prefix,omitempty"`
	Limit    int64    `json:"limit"`
}

// StartReplay fixes what is to be replayed: everything that is planned now and asked for. Copies are rows like all others, that name
// their original; they come behind everything, in the order of their originals. Copies are not copied again, unless their own id is
// asked for or they stand for an event that was parked; what is parked still is not: see ReplayDead. ErrGone when some of it was dropped, unless that is allowed. Needs
// outbox_owner.
func (t *Store) StartReplay(ctx context.Context, db outbox.DB, q *ReplayQuery) (*Job, error) {
	spec, err := t.replaySpec(ctx, db, q)
	if err != nil {
		return nil, err
	}
	return t.startJob(ctx, db, "replay", spec)
}

func (t *Store) replaySpec(ctx context.Context, db outbox.DB, q *ReplayQuery) (*replaySpec, error) {
	s := &replaySpec{Since: everBefore, Until: forever, Subjects: q.Subjects, Keys: q.Keys, FromID: max(q.FromID, 0), ToID: math.MaxInt64, Prefix: q.Prefix, Limit: math.MaxInt64}
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
	oldest, err := t.Oldest(ctx, db)
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
		from, err := t.PlannedSince(ctx, db, q.Since.Add(-clockMargin), s.To)
		if err != nil {
			return nil, err
		}
		s.From = min(max(s.From, from), s.To+1)
	}
	return s, nil
}

func (t *Store) replayRows(ctx context.Context, db outbox.DB, q *ReplayQuery, s *replaySpec) error {
	if len(q.EventIDs) > maxReplayIDs {
		return fmt.Errorf("replay: %w: %d event ids, at most %d", event.ErrInvalid, len(q.EventIDs), maxReplayIDs)
	}
	for _, id := range q.EventIDs {
		found, err := t.TrailOf(ctx, db, id)
		if err != nil {
			return err
		}
		if len(found) == 0 || found[0].ID != id {
			if !q.AllowedMissing {
				return fmt.Errorf("replay: %w: the table has no event %s", ErrGone, id)
			}
			continue
		}
		s.Rows = append(s.Rows, found[0].RowID)
	}
	return nil
}

// refuseDropped refuses a query that reaches back behind what the table still has.
func (t *Store) refuseDropped(ctx context.Context, db outbox.DB, q *ReplayQuery, oldest int64) error {
	if q.AllowedMissing {
		return nil
	}
	since, fromID := any(forever), int64(math.MaxInt64)
	if !q.Since.IsZero() {
		since = q.Since
	}
	if q.FromID > 0 {
		fromID = q.FromID
	}
	var n, id int64
	var created *time.Time
	if err := db.QueryRow(ctx, t.q.DroppedSince, since, fromID).Scan(&n, &created, &id); err != nil {
		return fmt.Errorf("look for dropped events: %w", err)
	}
	if n == 0 && (q.FromPosition == 0 || q.FromPosition >= oldest) {
		return nil
	}
	still := "nothing"
	if created != nil {
		still = fmt.Sprintf("events from id %d and %s on, position %d", id, created.Format(time.RFC3339), oldest)
	}
	return fmt.Errorf("replay: %w of what was asked for; the table still has %s", ErrGone, still)
}

// narrow leaves out positions before and behind the ids that are asked for.
func (t *Store) narrow(ctx context.Context, db outbox.DB, s *replaySpec) error {
	var first, last *int64
	if err := db.QueryRow(ctx, t.q.PositionsOfIDs, s.FromID, s.ToID).Scan(&first, &last); err != nil {
		return fmt.Errorf("look for ids in the plan: %w", err)
	}
	if first == nil {
		s.From = s.To + 1
		return nil
	}
	s.To = min(s.To, *last)
	s.From = min(max(s.From, *first), s.To+1)
	return nil
}

// ReplayStep copies the next events of a replay, n at most, in one transaction. Done when job.Last.Done is. ErrStepTaken means that
// another process did it.
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
		s.Since, s.Until, s.Patterns, s.Keys, s.FromID, s.ToID, s.Prefix, job.Last.Seen, job.Last.Events, s.Limit)
	if err == nil {
		job.span = nextSpan(span, job.Last.Seen-before.Seen, job.Last.Events-before.Events, int64(n))
	}
	return err
}

// nextSpan is how many positions the next step looks at, so that it finds about as many events as it may copy: every position that is
// looked at costs, and is looked at again if it was too much.
func nextSpan(span, seen, copied, most int64) int64 {
	switch {
	case seen < span:
		return seen
	case copied < most/2:
		return min(2*span, replaySpan)
	}
	return span
}

// position is where a job goes on that walks through the plan.
func (j *Job) position(first int64) (int64, error) {
	if j.Last.N == 0 {
		return first, nil
	}
	var place struct {
		Position int64 `json:"position"`
	}
	if err := json.Unmarshal(j.Last.Place, &place); err != nil || place.Position == 0 {
		return 0, fmt.Errorf("%s %s: read its place %s: %w", j.Kind, j.ID, j.Last.Place, errors.Join(err, event.ErrInvalid))
	}
	return place.Position, nil
}

// replayTotal is how many positions a replay looks at.
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
