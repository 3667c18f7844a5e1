package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/audit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
)

type auditJSON struct {
	Stream       string    `json:"stream"`
	Created      time.Time `json:"stream_created,omitzero"` // absent: the stream does not exist
	Sequence     uint64    `json:"sequence"`                // last one of the stream that was compared
	Position     int64     `json:"position"`                // last one of the plan that was compared
	Committed    int64     `json:"committed"`
	Published    int64     `json:"published"`
	Pending      int64     `json:"pending"` // not published yet
	Expired      int64     `json:"expired"` // dropped by a limit of the stream
	Dropped      int64     `json:"dropped"` // messages whose rows the retention dropped
	Accepted     int64     `json:"accepted"`
	Missing      int64     `json:"missing"`
	Unplanned    int64     `json:"unplanned"`
	Unpublished  int64     `json:"unpublished"`
	Duplicates   int64     `json:"duplicates"`
	Reordered    int64     `json:"reordered"`
	Foreign      int64     `json:"foreign"`
	Misplaced    int64     `json:"misplaced"`
	Unreceipted  int64     `json:"unreceipted"`
	Parked       int64     `json:"parked"`
	Dead         int64     `json:"dead"`
	Clean        bool      `json:"clean"`
	Leader       string    `json:"leader"`
	RelayPaused  bool      `json:"relay_paused"`
	SharedStream bool      `json:"shared_stream"` // others publish to it, so foreign messages are no findings
	Seconds      float64   `json:"seconds"`

	Consumers []auditConsumerJSON      `json:"consumers"`
	Findings  map[string][]findingJSON `json:"findings"`
	Repair    *auditRepairJSON         `json:"repair,omitempty"`

	report  *audit.Report
	waiting error // the relay has not yet published all that a repair planned
}

type auditConsumerJSON struct {
	Name       string `json:"name"`
	Sequence   uint64 `json:"sequence"` // up to which it has acknowledged every message
	Position   int64  `json:"position,omitempty"`
	Pending    uint64 `json:"pending"` // not delivered, or not acknowledged
	AckPending int    `json:"ack_pending"`
}

type findingJSON struct {
	EventID  string `json:"event_id"` // empty: the message has none
	Subject  string `json:"subject"`
	Key      string `json:"key"`
	Position int64  `json:"position,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	Detail   string `json:"detail"`
}

type auditRepairJSON struct {
	DryRun    bool  `json:"dry_run"`
	Replanned int64 `json:"replanned"` // missing events that got a new position
	Awaited   int64 `json:"awaited"`   // missing events that the relay publishes without a new position
	Planned   int64 `json:"planned"`   // rows that no relay would have planned
	Accepted  int64 `json:"accepted"`
	Copies    int64 `json:"copies"` // of the newest events of reordered keys
	Receipts  int64 `json:"receipts"`
}

func newAuditRepair(r *audit.Repaired, dryRun bool) *auditRepairJSON {
	return &auditRepairJSON{dryRun, r.Replanned, r.Awaited, r.Orphans, r.Accepted, r.Copies, r.Receipts}
}

func newAuditJSON(r *audit.Report) *auditJSON {
	n := func(kind audit.Kind) int64 { return r.Found[kind].N }
	out := &auditJSON{
		Stream: r.Stream.Name, Created: r.Stream.Created, Sequence: r.Until, Position: r.LastPosition, Committed: r.Committed, Published: r.Published,
		Pending: r.Pending, Expired: r.Expired, Dropped: r.Dropped, Accepted: r.Accepted,
		Missing: n(audit.Missing), Unplanned: n(audit.Unplanned), Unpublished: n(audit.Unpublished), Duplicates: n(audit.Duplicates),
		Reordered: n(audit.Reordered), Foreign: n(audit.Foreign), Misplaced: n(audit.Misplaced), Unreceipted: n(audit.Unreceipted),
		Parked: n(audit.Parked), Dead: n(audit.Dead), Clean: r.Findings() == 0, Leader: r.Leader, RelayPaused: r.Paused, SharedStream: r.Shared,
		Seconds: r.Took.Seconds(), Consumers: []auditConsumerJSON{}, Findings: map[string][]findingJSON{}, report: r,
	}
	for _, k := range r.Consumers {
		out.Consumers = append(out.Consumers, auditConsumerJSON{k.Name, k.Sequence, k.Position, k.Pending + uint64(k.AckPending), k.AckPending})
	}
	for _, kind := range audit.Kinds() {
		if !r.Has(kind) {
			continue
		}
		for _, f := range r.Found[kind].First {
			one := findingJSON{Subject: f.Subject, Key: f.Key, Position: f.Position, Sequence: f.Sequence, Detail: f.Detail}
			if f.EventID != uuid.Nil {
				one.EventID = f.EventID.String()
			}
			out.Findings[string(kind)] = append(out.Findings[string(kind)], one)
		}
	}
	return out
}

func (out *auditJSON) print(w io.Writer) error {
	state := "clean: no event is lost, duplicated or out of order"
	if !out.Clean {
		state = fmt.Sprintf("%d findings", out.report.Findings())
	}
	rows := [][]string{
		{"verdict", state}, {"committed", fmt.Sprint(out.Committed)}, {"published", fmt.Sprint(out.Published)}, {"pending", fmt.Sprint(out.Pending)},
		{"expired", fmt.Sprintf("%d, by a limit of the stream", out.Expired)}, {"dropped", fmt.Sprintf("%d, by the retention of the table", out.Dropped)},
		{"accepted", fmt.Sprint(out.Accepted)},
	}
	for _, kind := range audit.Kinds() {
		text := fmt.Sprint(out.report.Found[kind].N)
		if kind == audit.Foreign && out.SharedStream {
			text += ", others publish to the stream"
		}
		rows = append(rows, []string{string(kind), text})
	}
	for _, k := range out.Consumers {
		rows = append(rows, []string{"consumer", fmt.Sprintf("%s: at sequence %d, %d not acknowledged", k.Name, k.Sequence, k.Pending)})
	}
	if r := out.Repair; r != nil {
		did := "repair"
		if r.DryRun {
			did = "would repair"
		}
		rows = append(rows, []string{did, fmt.Sprintf("%d planned again, %d published by the relay without a new plan, %d planned for the first time, %d accepted, %d copies, %d receipts",
			r.Replanned, r.Awaited, r.Planned, r.Accepted, r.Copies, r.Receipts)})
	}
	if err := term.Table(w, nil, rows); err != nil || len(out.Findings) == 0 {
		return err
	}
	rows = nil
	for _, kind := range audit.Kinds() {
		for _, f := range out.Findings[string(kind)] {
			rows = append(rows, []string{string(kind), cmp.Or(f.EventID, "-"), cmp.Or(term.Plain(f.Subject), "-"), cmp.Or(term.Plain(f.Key), "-"), orDash(f.Position), orDash(int64(f.Sequence)), term.Clip(term.Plain(f.Detail), 80)})
		}
	}
	fmt.Fprintln(w)
	return term.Table(w, []string{"FINDING", "EVENT_ID", "SUBJECT", "KEY", "POSITION", "SEQUENCE", "DETAIL"}, rows)
}

func orDash(n int64) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// auditNext is the next step for each kind of finding.
var auditNext = map[audit.Kind]string{
	audit.Missing:     "to publish them again, run: outbox audit --repair",
	audit.Unplanned:   "to see why the relay does not plan them, run: outbox status; to wait for it, run: outbox audit --repair",
	audit.Unpublished: "to see why the relay does not publish them, run: outbox status; to wait for it, run: outbox audit --repair",
	audit.Duplicates:  "to see one, run: outbox trace --event-id …; to accept them, run: outbox audit --repair",
	audit.Reordered:   "to publish the newest event of each key again, run: outbox audit --repair",
	audit.Foreign:     "find the other publisher of the stream; to accept them, run: outbox audit --repair",
	audit.Misplaced:   "to see one, run: outbox trace --event-id …; to accept them, run: outbox audit --repair",
	audit.Unreceipted: "to write the receipt, run: outbox audit --repair",
	audit.Parked:      "run: outbox dead list --source parked",
	audit.Dead:        "run: outbox dead list --source dead-letters",
}

// verdict returns the error that sets the exit code, and prints the next step for each kind of finding.
func (out *auditJSON) verdict(s *session) error {
	if out.waiting != nil {
		return exit.With(exit.Findings, out.waiting)
	}
	if out.Clean {
		return nil
	}
	var kinds []string
	for _, kind := range audit.Kinds() {
		if out.report.Has(kind) {
			n := out.report.Found[kind].N
			kinds = append(kinds, fmt.Sprintf("%d %s", n, kind))
			s.notef("%d %s: %s\n", n, kind, auditNext[kind])
		}
	}
	return exit.With(exit.Findings, errors.New(strings.Join(kinds, ", ")))
}
