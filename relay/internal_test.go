package relay

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

func TestWindow(t *testing.T) {
	w := newWindow(4, 100, 11)
	var done []int64
	ack := func(p int64) { w.ack(p, uint64(p), func(p int64, _ *slot) { done = append(done, p) }) }
	w.add(slot{bytes: 10})
	if !w.full() {
		t.Error("want the window full after its first message")
	}
	ack(11)
	w.add(slot{bytes: 10})
	w.add(slot{bytes: 10})
	w.add(slot{bytes: 80})
	if !w.full() || w.len() != 3 {
		t.Errorf("full by bytes: %v, %d in flight", w.full(), w.len())
	}
	ack(13)
	ack(99) // not in flight
	if len(done) != 1 {
		t.Errorf("an ack in the middle moved the beginning: %v", done)
	}
	ack(12)
	if len(done) != 3 || w.first != 14 || w.bytes != 80 {
		t.Errorf("done %v, first %d, %d bytes", done, w.first, w.bytes)
	}
	for range 3 {
		w.add(slot{})
	}
	if !w.full() {
		t.Error("want the window full by its number of events")
	}
}

func TestReadAck(t *testing.T) {
	if n, ok := plainAck([]byte(`{"stream":"S","seq":42}`), []byte(`{"stream":"S","seq":`)); n != 42 || !ok {
		t.Error("plain ack not recognized")
	}
	for _, text := range []string{`{"stream":"S","seq":42,"duplicate":true}`, `{"stream":"T","seq":42}`, `{"stream":"S","seq":}`, `{"stream":"S","seq":99999999999999999999999}`, ``} {
		if _, ok := plainAck([]byte(text), []byte(`{"stream":"S","seq":`)); ok {
			t.Errorf("%s was taken for a plain ack", text)
		}
	}
	for text, want := range map[string]class{
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 5"}}`:       unknown,
		`{"error":{"code":409,"err_code":10158,"description":"duplicate in process"}}`:         unknown,
		`{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum"}}`: refused,
		`{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"}}`:    unavailable,
		`{"error":{"code":400,"err_code":99999,"description":"an unknown error"}}`:             unavailable,
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

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Stream: "a.b"}, {Stream: "S", OnRecreate: "x"}, {Stream: "S", WindowEvents: 20000}, {Stream: "S", Replicas: 9}, {Stream: "S", PollMin: time.Second, PollMax: 1}, {Stream: "S", Grace: -1}} {
		if _, err := New(nil, nil, c); err == nil {
			t.Errorf("%+v: got no error, want one", c)
		}
	}
}
