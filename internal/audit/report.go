package audit

import (
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Kind is what is wrong with an event or a message.
type Kind string

// Kinds of findings.
const (
	Missing     Kind = "missing"     // the stream acknowledged or passed it and does not have it, and no limit of the stream explains that
	Duplicates  Kind = "duplicates"  // the stream has its event twice
	Reordered   Kind = "reordered"   // it follows a later event of its key
	Foreign     Kind = "foreign"     // a message without a row: rolled back, or written by others
	Misplaced   Kind = "misplaced"   // at a position that the plan gave to another event
	Unreceipted Kind = "unreceipted" // in the stream, and no receipt covers it
	Unplanned   Kind = "unplanned"   // it is committed and has no position
	Unpublished Kind = "unpublished" // it is planned and not published
	Parked      Kind = "parked"      // the stream does not accept it; a person must decide
	Dead        Kind = "dead"        // a consumer cannot process it; a person must decide
)

// Kinds returns all kinds, the gravest first.
func Kinds() []Kind {
	return []Kind{Missing, Unplanned, Unpublished, Duplicates, Reordered, Foreign, Misplaced, Unreceipted, Parked, Dead}
}

// Finding names one event or message.
type Finding struct {
	EventID  uuid.UUID // zero: the message has none
	Subject  string
	Key      string
	Position int64  // 0: none
	Sequence uint64 // where it is in the stream, or belongs; 0: not known
	Detail   string
}

// Found is the number of findings of one kind, and the first of them.
type Found struct {
	N     int64
	First []Finding // at most Config.Limit
}

func (f *Found) add(limit int, one Finding) {
	if f.N++; len(f.First) < limit {
		f.First = append(f.First, one)
	}
}

// Consumer is how far a consumer of the stream is.
type Consumer struct {
	Name       string
	Sequence   uint64 // up to which it has acknowledged everything
	Position   int64  // that belongs there; 0: not known
	Pending    uint64 // messages not delivered yet
	AckPending int    // messages delivered and not acknowledged
}

// Report is what an audit found.
type Report struct {
	Stream       table.Stream // Created is zero when there is none
	Until        uint64       // last sequence that was audited
	LastPosition int64        // last position that was audited

	Committed int64 // rows of the table
	Published int64 // of these, in the stream
	Pending   int64 // of these, not published yet
	Expired   int64 // positions that the stream's own limits removed
	Dropped   int64 // messages whose rows retention dropped
	Accepted  int64 // messages that would be findings if nobody had accepted them

	Found     map[Kind]*Found
	Consumers []Consumer
	Leader    string // the relay that publishes; empty: none
	Paused    bool   // a person paused the relay, so nothing is overdue
	Shared    bool   // others write to the stream: foreign messages are counted and are no finding
	Took      time.Duration
}

func newReport(a *Audit) *Report {
	s := &a.scope
	r := &Report{
		Stream: s.ID, Until: s.to, LastPosition: s.lastPosition, Committed: a.rows.n,
		Found: make(map[Kind]*Found), Consumers: []Consumer{}, Leader: s.status.Leader, Paused: s.paused, Shared: s.shared,
	}
	for _, kind := range Kinds() {
		r.Found[kind] = &Found{}
	}
	return r
}

// Findings is the number of findings of all kinds.
func (r *Report) Findings() (n int64) {
	for _, kind := range Kinds() {
		n += r.count(kind)
	}
	return n
}

func (r *Report) count(kind Kind) int64 {
	if kind == Foreign && r.Shared {
		return 0
	}
	return r.Found[kind].N
}

// Has reports whether there is a finding of a kind.
func (r *Report) Has(kind Kind) bool { return r.count(kind) > 0 }
