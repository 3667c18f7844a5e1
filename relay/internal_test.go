package relay

import (
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func TestWindow(t *testing.T) {
	w := newWindow(4, 100, 11)
	var done []int64
	ack := func(p int64) { w.ack(p, uint64(p), func(p int64, _ *slot) { done = append(done, p) }) }
	w.add(slot{bytes: 10})
	if !w.full() {
		t.Error("the first message goes alone")
	}
	ack(11)
	w.add(slot{bytes: 10})
	w.add(slot{bytes: 10})
	w.add(slot{bytes: 80})
	if !w.full() || w.len() != 3 {
		t.Errorf("full by bytes: %v, %d in flight", w.full(), w.len())
	}
	ack(13)
	ack(99) // nobody's
	if len(done) != 1 {
		t.Errorf("an ack in the middle must not move the beginning: %v", done)
	}
	ack(12)
	if len(done) != 3 || w.first != 14 || w.bytes != 80 {
		t.Errorf("done %v, first %d, %d bytes", done, w.first, w.bytes)
	}
	for range 3 {
		w.add(slot{})
	}
	if !w.full() {
		t.Error("full by events")
	}
}

func TestBaseLog(t *testing.T) {
	s := table.Stream{Name: "S", Created: time.Unix(5, 0)}
	other := table.Stream{Name: "S", Created: time.Unix(6, 0)}
	log := baseLog{stream: s, all: []table.Base{
		{N: 1, Stream: s, From: 1, Base: 10},   // positions 1 … 100 at 11 … 110
		{N: 2, Stream: s, From: 101, Base: 13}, // 111 … 113 are foreign, 101 … is at 114
		{N: 3, Stream: other, From: 1, Base: 0},
	}}
	for sequence, want := range map[uint64]struct {
		position int64
		belongs  bool
	}{5: {0, false}, 10: {0, false}, 11: {1, true}, 110: {100, true}, 111: {100, false}, 113: {100, false}, 114: {101, true}, 200: {187, true}} {
		if p, belongs := log.positionAt(sequence); p != want.position || belongs != want.belongs {
			t.Errorf("position at %d: %d %v, want %+v", sequence, p, belongs, want)
		}
	}
	if b, ok := log.baseOf(100); b != 10 || !ok {
		t.Errorf("base of 100: %d", b)
	}
	if b, ok := log.baseOf(101); b != 13 || !ok {
		t.Errorf("base of 101: %d", b)
	}
	if log.first() != 1 || !log.started() || (baseLog{stream: table.Stream{Name: "T"}, all: log.all}).started() {
		t.Error("first or started")
	}
}

func TestReadAck(t *testing.T) {
	if n, ok := plainAck([]byte(`{"stream":"S","seq":42}`), []byte(`{"stream":"S","seq":`)); n != 42 || !ok {
		t.Error("plain ack")
	}
	for _, text := range []string{`{"stream":"S","seq":42,"duplicate":true}`, `{"stream":"T","seq":42}`, `{"stream":"S","seq":}`, `{"stream":"S","seq":99999999999999999999999}`, ``} {
		if _, ok := plainAck([]byte(text), []byte(`{"stream":"S","seq":`)); ok {
			t.Errorf("%s is not plain", text)
		}
	}
	for text, want := range map[string]class{
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"}}`:          unknown,
		`{"error":{"code":409,"err_code":10158,"description":"duplicate in process"}}`:            unknown,
		`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum"}}`:    refused,
		`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`:       unavailable,
		`{"error":{"code":400,"err_code":99999,"description":"what nobody knows loses nothing"}}`: unavailable,
		`nonsense`: unknown,
	} {
		if _, got, err := readAck(&nats.Msg{Data: []byte(text)}); err == nil || got != want {
			t.Errorf("%s: class %d, %v; want %d", text, got, err, want)
		}
	}
	none := nats.NewMsg("x")
	none.Header.Set("Status", "503")
	if _, got, err := readAck(none); err == nil || got != unavailable {
		t.Errorf("no responders: %d, %v", got, err)
	}
}

func TestCovered(t *testing.T) {
	for _, c := range []struct {
		pattern, subject string
		want             bool
	}{
		{"a.b", "a.b", true}, {"a.*", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "a.>", true}, {"a.>", "a.*", true}, {">", "a", true}, {"*.b", "*.b", true}, {"a.*.c", "a.*.c", true},
		{"a.b", "a.c", false}, {"a.*", "a.>", false}, {"a.*", "a.b.c", false}, {"a.>", "a", false}, {"a.b", "a.*", false}, {"a.b.c", "a.b", false}, {"a", ">", false}, {"a.b.c", "a.*.c", false},
	} {
		if got := Covered([]string{"zzz", c.pattern}, c.subject); got != c.want {
			t.Errorf("%s covers %s: %v", c.pattern, c.subject, got)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Stream: "a.b"}, {Stream: "S", OnRecreate: "x"}, {Stream: "S", WindowEvents: 20000}, {Stream: "S", Replicas: 9}, {Stream: "S", PollMin: time.Second, PollMax: 1}, {Stream: "S", Grace: -1}} {
		if _, err := New(nil, nil, c); err == nil {
			t.Errorf("%+v: want an error", c)
		}
	}
}

func TestSpans(t *testing.T) {
	var s spans
	for _, n := range []uint64{3, 4, 5, 9, 12, 13} {
		s.addRun(n, n)
	}
	s.addRun(20, 19)
	if want := (spans{{3, 5}, {9, 9}, {12, 13}}); !slices.Equal(s, want) {
		t.Errorf("%v, want %v", s, want)
	}
	if got, want := s.without([]uint64{1, 4, 9, 13, 30}), (spans{{3, 3}, {5, 5}, {12, 12}}); !slices.Equal(got, want) {
		t.Errorf("without: %v, want %v", got, want)
	}
	if got, want := s.from(5), (spans{{5, 5}, {9, 9}, {12, 13}}); !slices.Equal(got, want) {
		t.Errorf("from: %v, want %v", got, want)
	}
}
