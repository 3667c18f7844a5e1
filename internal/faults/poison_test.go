package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// poison is an event that can never be published and that the CHECK constraints of the table reject.
type poison struct {
	reason, subject, headers, key, contentType string
	size                                       int
}

const maxMessage = 64 << 10 // bytes, the limit of the stream

// poisons contains every kind. {} is replaced with the stream's name.
var poisons = []poison{
	{reason: "too_large", size: maxMessage + 1},
	{reason: "too_large", size: maxMessage - 10},           // too large with its headers
	{reason: "too_large", size: 2 << 20},                   // too large for any server
	{reason: "too_large", size: 1<<20 - 10, headers: `{}`}, // too large for the server with its headers
	{reason: "no_stream", subject: "elsewhere.1"},
	{reason: "no_stream", subject: "{}"},
	{reason: "bad_subject", subject: "{}.*.1"},
	{reason: "bad_subject", subject: "{}.>"},
	{reason: "bad_subject", subject: "{}.a b"},
	{reason: "bad_subject", subject: "{}.a\tb"},
	{reason: "bad_subject", subject: "{}.a\r\nPUB {}.x 0\r\n\r\n"},
	{reason: "bad_subject", subject: "{}..b"},
	{reason: "bad_subject", subject: "{}."},
	{reason: "bad_subject", subject: ""},
	{reason: "bad_subject", subject: "$JS.API.STREAM.PURGE.{}"},
	{reason: "bad_subject", subject: "_OUTBOX.parked.{}"},
	{reason: "bad_subject", subject: "{}." + strings.Repeat("long", 300)},
	{reason: "bad_header", headers: `{"Nats-Rollup": "all"}`},
	{reason: "bad_header", headers: `{"nats-rollup": "sub"}`},
	{reason: "bad_header", headers: `{"Nats-Expected-Last-Sequence": "1"}`},
	{reason: "bad_header", headers: `{"Nats-Msg-Id": "mine"}`},
	{reason: "bad_header", headers: `{"Nats-TTL": "1s"}`},
	{reason: "bad_header", headers: `{"Outbox-Position": "1"}`},
	{reason: "bad_header", headers: `{"Trace": 7}`},
	{reason: "bad_header", headers: `{"Trace": {"id": "7"}}`},
	{reason: "bad_header", headers: `["Trace", "7"]`},
	{reason: "bad_header", headers: `"Trace"`},
	{reason: "bad_header", headers: `{"": "7"}`},
	{reason: "bad_header", headers: `{"Tra ce": "7"}`},
	{reason: "bad_header", headers: `{"Trace": "7\r\nNats-Rollup: all"}`},
	{reason: "bad_header", headers: `{"Trace": "` + strings.Repeat("7", 20_000) + `"}`},
	{reason: "bad_header", headers: `{"Trace": "` + strings.Repeat("7", 200_000) + `"}`},
	{reason: "bad_header", key: "a\r\nNats-Rollup: all"},
	{reason: "bad_header", key: strings.Repeat("7", 2000)},
	{reason: "bad_header", contentType: "text/plain\nNats-Rollup: all"},
}

// dropChecks drops the CHECK constraints, as a superuser can. An older schema may also lack them.
func (s *scenario) dropChecks() {
	s.t.Helper()
	s.exec(`ALTER TABLE outbox.event DROP CONSTRAINT subject_is_literal_tokens, DROP CONSTRAINT key_is_a_header_value,
		DROP CONSTRAINT payload_at_most_960_kib, DROP CONSTRAINT content_type_is_a_header_value,
		DROP CONSTRAINT headers_are_strings_and_not_reserved`)
}

func (s *scenario) insertPoison(p poison) {
	s.t.Helper()
	if p.subject == "" && p.reason != "bad_subject" {
		p.subject = "{}.poison.1"
	}
	var headers, key *string
	if p.headers != "" {
		headers = &p.headers
	}
	if p.key != "" {
		key = &p.key
	}
	if p.contentType == "" {
		p.contentType = "application/json"
	}
	s.exec(`INSERT INTO outbox.event (subject, key, payload, content_type, headers) VALUES ($1, $2, $3, $4, $5::text::jsonb)`,
		strings.ReplaceAll(p.subject, "{}", s.stream), key, make([]byte, p.size), p.contentType, headers)
}

// limited creates a stream with a lower size limit than the table.
var limited = options{limit: func(c *jetstream.StreamConfig) { c.MaxMsgSize = maxMessage }}

func testPoison(t *testing.T) {
	runScenario(t, "poison: too large, bad headers, bad subjects, no stream for the subject", limited, func(s *scenario) {
		s.dropChecks()
		s.startInvalidator("")
		s.startRelay("relay", "")
		l := s.startLoad(4, 2*time.Millisecond, false)
		want := make(map[string]int)
		for range times(1, 15) {
			for _, p := range poisons {
				s.insertPoison(p)
				want[p.reason]++
				s.row.faults++
			}
			s.measureRecovery(time.Now())
		}
		l.stop()
		v := s.verify()
		if v.Parked != int64(s.row.faults) {
			t.Errorf("got %d parked events, want %d", v.Parked, s.row.faults)
		}
		if got := s.countParked(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("got parked events by reason %v, want %v", got, want)
		}
	})
}

// countParked counts parked events by reason, and requires that each has a detail.
func (s *scenario) countParked() map[string]int {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT reason, count(*)::int, min(length(detail)) FROM outbox.parked GROUP BY 1"))
	s.must(err)
	got := make(map[string]int)
	var reason string
	var n, shortest int
	_, err = pgx.ForEachRow(rows, []any{&reason, &n, &shortest}, func() error {
		if got[reason] = n; shortest == 0 {
			s.t.Errorf("a parked event with reason %s has no detail", reason)
		}
		return nil
	})
	s.must(err)
	return got
}

// testPoisonHalts runs a relay with --on-refuse halt, which must not park an event but exit with the next step in its
// error. A relay whose stream no longer covers its subjects must do the same.
func testPoisonHalts(t *testing.T) {
	runScenario(t, "poison with --on-refuse halt; the stream's subject removed: the relay exits and names the next step", limited, func(s *scenario) {
		s.dropChecks()
		s.startInvalidator("")
		l := s.startLoad(4, 2*time.Millisecond, false)
		kinds := []int{0, 1, 4, 6, 17, 23, 1} // one for each check that rejects events
		for _, i := range kinds[:times(3, len(kinds))] {
			p := s.startRelay("strict", "", "--on-refuse", "halt")
			s.probe()
			s.insertPoison(poisons[i])
			s.awaitHalt(p, "--on-refuse park", poisons[i].reason)
			began := time.Now()
			park := s.startRelay("lenient", "")
			s.measureRecovery(began)
			park.Kill()
			s.row.faults++
		}
		p := s.startRelay("strict", "")
		s.probe()
		stream, err := s.js.Stream(t.Context(), s.stream)
		s.must(err)
		c := stream.CachedInfo().Config
		fewer := c
		fewer.Subjects = []string{s.stream + ".probe.>"}
		_, err = s.js.UpdateStream(t.Context(), fewer)
		s.must(err)
		s.awaitHalt(p, "nats stream edit", "does not cover subject")
		_, err = s.js.UpdateStream(t.Context(), c)
		s.must(err)
		s.row.faults++
		began := time.Now()
		s.startRelay("last", "")
		s.measureRecovery(began)
		l.stop()
		s.verify()
	})
}

// awaitHalt waits until a program has exited with 1, and requires each of the texts in its final error.
func (s *scenario) awaitHalt(p *program, texts ...string) {
	s.t.Helper()
	if code := p.exited(30 * time.Second); code != 1 {
		s.t.Fatalf("outbox %s exited with %d, want 1:\n%s", p.args[0], code, p.log.String())
	}
	for _, text := range texts {
		if log := p.log.String(); !strings.Contains(log[strings.LastIndex(log, "\noutbox: ")+1:], text) {
			s.t.Errorf("the error does not contain %q:\n%s", text, log)
		}
	}
}
