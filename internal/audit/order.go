package audit

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"
)

// The plan has the events of a key in the order of their commits. A message can therefore only follow a later event of its key if
// it follows a later position. Such messages are late, and nearly always few. The audit compares only their keys, and only between the
// position of each and the highest position before it in the stream.

// lateMessage is a message that follows a higher position.
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
	keptLate  = 10_000    // late messages whose subject, key and id are kept
	maxLate   = 2_000_000 // late messages
	maxTracks = 2_000_000 // runs of positions and sequences
	orderPage = 32_768    // positions
)

var errFragmented = errors.New("too much of the stream is not in the order of the plan to audit all of it at once; audit a part with --since and --until")

// track maps positions to sequences: runs in which both grow by one, in the order of the stream.
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

// sort must be called before at, and after the last add.
func (t *track) sort() {
	slices.SortFunc(t.runs, func(a, b trackRun) int { return cmp.Compare(a.position, b.position) })
}

// at returns the sequence of a position; 0 if the stream does not have it.
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

// order finds the late messages that follow a later event of their key.
func (a *Audit) order(ctx context.Context) error {
	late := a.cmp.late
	if len(late) == 0 {
		return nil
	}
	if len(late) > maxLate {
		return errFragmented
	}
	a.cmp.sequences.sort()
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
			a.cmp.note(Reordered, Finding{EventID: m.id, Subject: m.subject, Key: m.key, Position: m.position, Sequence: m.sequence, Detail: "follows a later event of its key"})
		}
	}
	return nil
}

// orderSpan reads the plan of a run of positions and compares the late messages in it with it, by key.
func (a *Audit) orderSpan(ctx context.Context, late []lateMessage, low, high int64) error {
	byKey := make(map[int64][]*lateMessage)
	return a.eachPlanned(ctx, low, high, func(row *Row) {
		for len(late) > 0 && late[0].position < row.Position { // its row was dropped
			late = late[1:]
		}
		if waiting := byKey[row.Key]; len(waiting) > 0 {
			sequence := a.cmp.sequences.at(row.Position)
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

// eachPlanned passes what the plan has from low through high to each, in position order, page by page.
func (a *Audit) eachPlanned(ctx context.Context, low, high int64, each func(row *Row)) error {
	rows := make([]Row, orderPage)
	for first := low; first <= high; first += orderPage {
		last := min(first+orderPage-1, high)
		clear(rows)
		page, cancel := context.WithTimeout(ctx, 2*queryTimeout)
		err := a.table.Plan(page, a.pool, []int64{first}, []int64{last}, func(row Row) { rows[row.Position-first] = row })
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
