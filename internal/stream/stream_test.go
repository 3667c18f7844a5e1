package stream

import (
	"slices"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func TestBaseLog(t *testing.T) {
	s := table.Stream{Name: "S", Created: time.Unix(5, 0)}
	other := table.Stream{Name: "S", Created: time.Unix(6, 0)}
	log := BaseLog{Stream: s, All: []table.Base{
		{N: 1, Stream: s, From: 1, Base: 10},   // positions 1 … 100 at 11 … 110
		{N: 2, Stream: s, From: 101, Base: 13}, // 111 … 113 are foreign, 101 … is at 114
		{N: 3, Stream: other, From: 1, Base: 0},
	}}
	for sequence, want := range map[uint64]struct {
		position int64
		belongs  bool
	}{5: {0, false}, 10: {0, false}, 11: {1, true}, 110: {100, true}, 111: {100, false}, 113: {100, false}, 114: {101, true}, 200: {187, true}} {
		if p, belongs := log.PositionAt(sequence); p != want.position || belongs != want.belongs {
			t.Errorf("position at %d: %d %v, want %+v", sequence, p, belongs, want)
		}
	}
	if b, ok := log.BaseOf(100); b != 10 || !ok {
		t.Errorf("base of 100: %d", b)
	}
	if b, ok := log.BaseOf(101); b != 13 || !ok {
		t.Errorf("base of 101: %d", b)
	}
	if log.First() != 1 || !log.Started() || (BaseLog{Stream: table.Stream{Name: "T"}, All: log.All}).Started() {
		t.Error("first or started")
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

func TestSpans(t *testing.T) {
	var s Spans
	for _, n := range []uint64{3, 4, 5, 9, 12, 13} {
		s.Add(n, n)
	}
	s.Add(20, 19)
	if want := (Spans{{3, 5}, {9, 9}, {12, 13}}); !slices.Equal(s, want) {
		t.Errorf("%v, want %v", s, want)
	}
	if got, want := s.Without([]uint64{1, 4, 9, 13, 30}), (Spans{{3, 3}, {5, 5}, {12, 12}}); !slices.Equal(got, want) {
		t.Errorf("without: %v, want %v", got, want)
	}
	if got, want := s.From(5), (Spans{{5, 5}, {9, 9}, {12, 13}}); !slices.Equal(got, want) {
		t.Errorf("from: %v, want %v", got, want)
	}
}
