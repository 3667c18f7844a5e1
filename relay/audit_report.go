package relay

import (
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

// Kind is what is wrong with an event or a message.
type Kind string

// Kinds of findings.
const (
	Missing     Kind = "missing"     // the stream has acknowledged or passed it and does not have it, and no limit of the stream explains that
	Duplicates  Kind = "duplicates"  // the stream had its event already
	Reordered   Kind = "reordered"   // behind a later event of its key
	Foreign     Kind = "foreign"     // a message of no row: rolled back, or of others
	Misplaced   Kind = "misplaced"   // at a position that the plan gave to another event
	Unreceipted Kind = "unreceipted" // in the stream, and no receipt covers it
	Unplanned   Kind = "unplanned"   // committed, and has no position
	Unpublished Kind = "unpublished" // planned, and the stream has not come to it
	Parked      Kind = "parked"      // the stream refuses it, a person has to decide
	Dead        Kind = "dead"        // a consumer cannot work it off, a person has to decide
)

// Kinds lists all of them, the gravest first.
var Kinds = []Kind{Missing, Unplanned, Unpublished, Duplicates, Reordered, Foreign, Misplaced, Unreceipted, Parked, Dead}

// Finding names one.
type Finding struct {
	EventID  uuid.UUID // zero: the message says none
	Subject  string
	Key      string
	Position int64  // 0: none
	Sequence uint64 // where it is in the stream, or where it belongs; 0: not known
	Detail   string
}

// Found is what there is of one kind.
type Found struct {
	N     int64
	First []Finding // at most AuditConfig.Limit
}

func (f *Found) add(limit int, one Finding) {
	if f.N++; len(f.First) < limit {
		f.First = append(f.First, one)
	}
}

// AuditConsumer is how far a consumer of the stream is.
type AuditConsumer struct {
	Name       string
	Sequence   uint64 // up to which it has acknowledged all
	Position   int64  // that belongs there; 0: not known
	Pending    uint64 // messages that were not delivered yet
	AckPending int    // delivered, and not acknowledged
}

// AuditReport is what an audit found.
type AuditReport struct {
	Stream       table.Stream // Created is zero when there is none
	Until        uint64       // sequence up to which it was judged
	LastPosition int64        // the same in positions

	Committed int64 // rows of the table
	Published int64 // of these, in the stream
	Pending   int64 // of these, not come to the stream yet
	Expired   int64 // positions that the stream's own limits dropped
	Dropped   int64 // messages whose rows retention dropped
	Accepted  int64 // messages that would be findings, had nobody accepted them

	Found     map[Kind]*Found
	Consumers []AuditConsumer
	Leader    string // who publishes; empty: nobody
	Paused    bool   // by a person: nothing is overdue then
	Shared    bool   // others write to the stream: foreign messages are counted, and are no finding
	Took      time.Duration
}

func newReport(a *Audit) *AuditReport {
	s := &a.scope
	r := &AuditReport{
		Stream: s.stream, Until: s.to, LastPosition: s.lastPosition, Committed: a.rows.n,
		Found: make(map[Kind]*Found), Consumers: []AuditConsumer{}, Leader: s.status.Leader, Paused: s.paused, Shared: s.shared,
	}
	for _, kind := range Kinds {
		r.Found[kind] = &Found{}
	}
	return r
}

// Findings is how many there are of all kinds.
func (r *AuditReport) Findings() (n int64) {
	for _, kind := range Kinds {
		n += r.count(kind)
	}
	return n
}

func (r *AuditReport) count(kind Kind) int64 {
	if kind == Foreign && r.Shared {
		return 0
	}
	return r.Found[kind].N
}

// Has says whether there is a finding of a kind.
func (r *AuditReport) Has(kind Kind) bool { return r.count(kind) > 0 }
