package relay

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
)

// The plan has the events of a key in the order of their commits. So a message can only be behind a later event of its key when
// it is behind a later position: those are late, and nearly always few. Only their keys are looked at, and only between the
// position of each and the highest that was before it in the stream.

// lateMessage stands behind a higher position.
type lateMessage struct {
	sequence  uint64
	position  int64
	high      int64 // the highest position before it
	subject   string
	key       string
	id        uuid.UUID
	hash      int64 // of the key
	reordered bool
}

const (
	keptLate  = 10_000    // late messages that are kept as they are
	maxLate   = 2_000_000 // late messages
	maxTracks = 2_000_000 // runs of positions and sequences
	orderPage = 32_768    // positions
)

var errFragmented = errors.New("too much of the stream is out of the order of the plan to judge all of it at once; audit a part with --since and --until")

// track is where positions lie in the stream: runs in which both go on by one, in the order of the stream.
type track struct{ runs []trackRun }

type trackRun struct {
	position int64
	sequence uint64
	n        int64
}

func (t *track) add(position int64, sequence uint64) error {
	if n := len(t.runs); n > 0 {
		if r := &t.runs[n-1]; position == r.position+r.n && sequence == r.sequence+uint64(r.n) {
			r.n++
			return nil
		}
		if n == maxTracks {
			return errFragmented
		}
	}
	t.runs = append(t.runs, trackRun{position, sequence, 1})
	return nil
}

// sort makes at possible; then nothing is added any more.
func (t *track) sort() {
	slices.SortFunc(t.runs, func(a, b trackRun) int { return cmp.Compare(a.position, b.position) })
}

// at is the sequence of a position; 0 when it is not there.
func (t *track) at(position int64) uint64 {
	n, found := slices.BinarySearchFunc(t.runs, position, func(r trackRun, position int64) int {
		switch {
		case r.position > position:
			return 1
		case position >= r.position+r.n:
			return -1
		}
		return 0
	})
	if !found {
		return 0
	}
	return t.runs[n].sequence + uint64(position-t.runs[n].position)
}

// order finds which of the late messages are behind a later event of their key.
func (a *Audit) order(ctx context.Context) error {
	late := a.j.late
	if len(late) == 0 {
		return nil
	}
	if len(late) > maxLate {
		return errFragmented
	}
	a.j.sequences.sort()
	slices.SortFunc(late, func(x, y lateMessage) int { return cmp.Compare(x.position, y.position) })
	for i := 0; i < len(late); {
		low, high := late[i].position, late[i].high
		n := i + 1
		for n < len(late) && late[n].position <= high {
			high = max(high, late[n].high)
			n++
		}
		if err := a.orderSpan(ctx, late[i:n], low, high); err != nil {
			return err
		}
		i = n
	}
	slices.SortFunc(late, func(x, y lateMessage) int { return cmp.Compare(x.sequence, y.sequence) })
	for i := range late {
		if m := &late[i]; m.reordered {
			a.j.note(Reordered, Finding{EventID: m.id, Subject: m.subject, Key: m.key, Position: m.position, Sequence: m.sequence, Detail: "behind a later event of its key"})
		}
	}
	return nil
}

// orderSpan goes through the plan of a span of positions, with the late messages in it by key.
func (a *Audit) orderSpan(ctx context.Context, late []lateMessage, low, high int64) error {
	byKey := make(map[int64][]*lateMessage)
	return a.eachPlanned(ctx, low, high, func(row *audit.Row) {
		for len(late) > 0 && late[0].position < row.Position { // its row was dropped
			late = late[1:]
		}
		if waiting := byKey[row.Key]; len(waiting) > 0 {
			sequence := a.j.sequences.at(row.Position)
			rest := waiting[:0]
			for _, m := range waiting {
				if m.reordered = sequence > 0 && sequence < m.sequence; !m.reordered && m.high > row.Position {
					rest = append(rest, m)
				}
			}
			byKey[row.Key] = rest
		}
		if len(late) > 0 && late[0].position == row.Position {
			late[0].hash = row.Key
			byKey[row.Key] = append(byKey[row.Key], &late[0])
			late = late[1:]
		}
	})
}

// eachPlanned hands what the plan has from low through high to each, in position order, a page at a time.
func (a *Audit) eachPlanned(ctx context.Context, low, high int64, each func(row *audit.Row)) error {
	rows := make([]audit.Row, orderPage)
	for first := low; first <= high; first += orderPage {
		last := min(first+orderPage-1, high)
		clear(rows)
		page, cancel := context.WithTimeout(ctx, 2*queryTimeout)
		err := audit.In(a.table).Plan(page, a.pool, []int64{first}, []int64{last}, func(row audit.Row) { rows[row.Position-first] = row })
		cancel()
		if err != nil {
			return err
		}
		for i := range rows {
			if rows[i].RowID != 0 {
				each(&rows[i])
			}
		}
	}
	return nil
}
