package faults

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
)

// poison is an event that can never be published, past the CHECKs of the table.
type poison struct {
	reason, subject, headers, key, contentType string
	size                                       int
}

const maxMessage = 64 << 10 // of the stream

// poisons are all kinds. {} stands for the stream's name.
var poisons = []poison{
	{reason: "too_large", size: maxMessage + 1},
	{reason: "too_large", size: maxMessage - 10},           // with its headers
	{reason: "too_large", size: 2 << 20},                   // for any server
	{reason: "too_large", size: 1<<20 - 10, headers: `{}`}, // for the server with its headers
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

// withoutChecks is what a superuser can do, and what an older schema may have let in.
func (s *scene) withoutChecks() {
	s.t.Helper()
	s.exec(`ALTER TABLE outbox.event DROP CONSTRAINT subject_is_literal_tokens, DROP CONSTRAINT key_is_a_header_value,
		DROP CONSTRAINT payload_at_most_960_kib, DROP CONSTRAINT content_type_is_a_header_value,
		DROP CONSTRAINT headers_are_strings_and_not_reserved`)
}

func (s *scene) insertPoison(p poison) {
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

// limited is a stream that takes less than the table.
var limited = options{limit: func(c *jetstream.StreamConfig) { c.MaxMsgSize = maxMessage }}

func testPoison(t *testing.T) {
	scenario(t, "poison: too large, bad headers, bad subjects, no stream for the subject", limited, func(s *scene) {
		s.withoutChecks()
		s.invalidator("")
		s.relay("relay", "")
		l := s.write(4, 2*time.Millisecond, false)
		want := make(map[string]int)
		for range times(1, 15) {
			for _, p := range poisons {
				s.insertPoison(p)
				want[p.reason]++
				s.row.faults++
			}
			s.recovered(time.Now())
		}
		l.stop()
		v := s.judge()
		if v.Parked != int64(s.row.faults) {
			t.Errorf("%d parked, want %d", v.Parked, s.row.faults)
		}
		if got := s.parked(); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("parked by reason %v, want %v", got, want)
		}
	})
}

// parked counts what is set aside by reason, and makes sure that each says more.
func (s *scene) parked() map[string]int {
	s.t.Helper()
	rows, err := s.pool.Query(s.t.Context(), s.table.SQL("SELECT reason, count(*)::int, min(length(detail)) FROM outbox.parked GROUP BY 1"))
	s.must(err)
	got := make(map[string]int)
	var reason string
	var n, shortest int
	_, err = pgx.ForEachRow(rows, []any{&reason, &n, &shortest}, func() error {
		if got[reason] = n; shortest == 0 {
			s.t.Errorf("%s without a detail", reason)
		}
		return nil
	})
	s.must(err)
	return got
}

// By option, nothing is set aside without a person: the relay ends, and says what to do. So it does for a stream that
// does not fit it any more.
func testPoisonHalts(t *testing.T) {
	scenario(t, "poison with --on-refuse halt; the stream's subject taken away: the relay ends and says what to do", limited, func(s *scene) {
		s.withoutChecks()
		s.invalidator("")
		l := s.write(4, 2*time.Millisecond, false)
		kinds := []int{0, 1, 4, 6, 17, 23, 1} // a kind per place that refuses
		for _, i := range kinds[:times(3, len(kinds))] {
			p := s.relay("strict", "", "--on-refuse", "halt")
			s.flows()
			s.insertPoison(poisons[i])
			s.halted(p, "--on-refuse park", poisons[i].reason)
			began := time.Now()
			park := s.relay("lenient", "")
			s.recovered(began)
			park.kill()
			s.row.faults++
		}
		p := s.relay("strict", "")
		s.flows()
		stream, err := s.js.Stream(t.Context(), s.stream)
		s.must(err)
		c := stream.CachedInfo().Config
		fewer := c
		fewer.Subjects = []string{s.stream + ".probe.>"}
		_, err = s.js.UpdateStream(t.Context(), fewer)
		s.must(err)
		s.halted(p, "nats stream edit", "does not cover subject")
		_, err = s.js.UpdateStream(t.Context(), c)
		s.must(err)
		s.row.faults++
		began := time.Now()
		s.relay("last", "")
		s.recovered(began)
		l.stop()
		s.judge()
	})
}

// halted waits until a program has ended with 1, having said each of these.
func (s *scene) halted(p *program, texts ...string) {
	s.t.Helper()
	if code := p.ended(30 * time.Second); code != 1 {
		s.t.Fatalf("ended with %d:\n%s", code, p.log.String())
	}
	for _, text := range texts {
		if log := p.log.String(); !strings.Contains(log[strings.LastIndex(log, "\noutbox: ")+1:], text) {
			s.t.Errorf("does not say %q:\n%s", text, log)
		}
	}
}
