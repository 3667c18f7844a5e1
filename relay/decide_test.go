package relay

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/stream"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

var (
	thisStream  = table.Stream{Name: "S", Created: time.Unix(5, 0)}
	otherStream = table.Stream{Name: "S", Created: time.Unix(4, 0)}
)

// published is the evidence after positions 1 … 100 went to sequences 1 … 100 and got their receipt. change makes it another.
func published(change func(e *evidence)) *evidence {
	e := &evidence{
		receipt: table.Receipt{Stream: thisStream, Position: 100, Sequence: 100},
		log:     stream.BaseLog{Stream: thisStream, All: []table.Base{{N: 1, Stream: thisStream, From: 1, Base: 0}}},
		state:   &stream.State{ID: thisStream, First: 1, Last: 100, Replicas: 1},
		oldest:  1,
		known:   100,
		tail:    &tail{contiguous: 100, last: 100, from: 101, end: 100},
	}
	e.shape = shape{stream: thisStream, first: 1}
	change(e)
	return e
}

// scanned is a tail after position known, with base 0, in which the sequences from there on have these positions; 0 is a foreign message.
func scanned(known int64, positions ...int64) *tail {
	t := &tail{contiguous: known, beyond: map[int64]bool{}, last: known, from: known + 1, end: uint64(known)}
	for _, p := range positions {
		t.end++
		if p == 0 {
			t.foreign++
			continue
		}
		t.add(p, t.end)
	}
	return t
}

func TestDecide(t *testing.T) {
	id := uuid.New()
	for name, c := range map[string]struct {
		e    *evidence
		mem  memory
		cfg  Config
		want decision
		err  error
	}{
		"nothing after the last receipt": {
			e:    published(func(*evidence) {}),
			want: decision{next: 101, reason: "foreign messages"},
		},
		"a window without its receipt": {
			e: published(func(e *evidence) {
				e.state.Last, e.tail = 103, scanned(100, 101, 102, 103)
			}),
			want: decision{next: 104, reason: "foreign messages"},
		},
		"a new stream": {
			e: published(func(e *evidence) {
				e.receipt, e.log.All, e.state.Last, e.tail = table.Receipt{}, nil, 0, nil
			}),
			want: decision{next: 1, reason: "first", append: &table.Base{N: 1, Stream: thisStream, From: 1}},
		},
		"a new stream that others have written to": {
			e: published(func(e *evidence) {
				e.receipt, e.log.All, e.state.Last, e.tail = table.Receipt{}, nil, 7, nil
			}),
			want: decision{next: 1, base: 7, reason: "first", append: &table.Base{N: 1, Stream: thisStream, From: 1, Base: 7}},
		},
		"a new stream for an old outbox begins with the oldest event": {
			e: published(func(e *evidence) {
				e.receipt, e.log.All, e.state.Last, e.tail, e.oldest = table.Receipt{}, nil, 0, nil, 51
			}),
			want: decision{next: 51, base: -50, reason: "first", append: &table.Base{N: 1, Stream: thisStream, From: 51, Base: -50}},
		},
		"a recreated stream": {
			e: published(func(e *evidence) {
				e.receipt.Stream, e.log.All[0].Stream, e.state.Last, e.tail = otherStream, otherStream, 0, nil
			}),
			want: decision{recreated: true, next: 1, reason: "recreated stream", append: &table.Base{N: 2, Stream: thisStream, From: 1}},
		},
		"a recreated stream, by policy": {
			e: published(func(e *evidence) {
				e.receipt.Stream, e.log.All[0].Stream, e.state.Last, e.tail = otherStream, otherStream, 0, nil
			}),
			cfg: Config{OnRecreate: RecreatedHalt},
			err: ErrRecreated,
		},
		"a shared stream resumes after its receipt": {
			e:    published(func(e *evidence) { e.state.Last, e.tail = 5000, nil }),
			cfg:  Config{Shared: true},
			want: decision{next: 101},
		},
		"a shared stream without a receipt": {
			e:    published(func(e *evidence) { e.receipt, e.tail = table.Receipt{}, nil }),
			cfg:  Config{Shared: true},
			want: decision{next: 1},
		},
		"a recreated shared stream": {
			e:    published(func(e *evidence) { e.receipt.Stream, e.oldest, e.tail = otherStream, 31, nil }),
			cfg:  Config{Shared: true},
			want: decision{recreated: true, next: 31},
		},
		"a recreated shared stream, by policy": {
			e:   published(func(e *evidence) { e.receipt.Stream, e.tail = otherStream, nil }),
			cfg: Config{Shared: true, OnRecreate: RecreatedHalt},
			err: ErrRecreated,
		},
		"the stream lost acknowledged messages": {
			e: published(func(e *evidence) {
				e.state.Last, e.known, e.lost = 60, 59, lostTail{from: 100, to: 60}
				e.tail = scanned(59, 60)
			}),
			want: decision{lost: 40, next: 61, reason: "foreign messages"},
		},
		"a loss is counted once, and again as far as it grew": {
			e: published(func(e *evidence) {
				e.state.Last, e.known, e.lost = 50, 49, lostTail{from: 100, to: 50}
				e.tail = scanned(49, 50)
			}),
			mem:  memory{lost: lostTail{from: 100, to: 60}},
			want: decision{lost: 10, next: 51, reason: "foreign messages"},
		},
		"foreign messages at the end move the base": {
			e: published(func(e *evidence) {
				e.state.Last, e.tail = 104, scanned(100, 101, 102, 0, 0)
			}),
			want: decision{foreign: 2, next: 103, base: 2, reason: "foreign messages", append: &table.Base{N: 2, Stream: thisStream, From: 103, Base: 2}},
		},
		"foreign messages in a window displace as many events": {
			// 101 was stored, two foreign messages took 102 and 103, the server refused those positions and stored the rest.
			e: published(func(e *evidence) {
				e.state.Last, e.tail = 106, scanned(100, 101, 0, 0, 104, 105, 106)
			}),
			want: decision{foreign: 2, displaced: []run{{102, 103}}, next: 107, reason: "foreign messages"},
		},
		"messages stored after an older base moved the base back to where they begin": {
			e: published(func(e *evidence) {
				e.state.Last, e.tail = 104, scanned(100, 0, 0, 101, 102)
			}),
			want: decision{foreign: 2, next: 103, base: 2, reason: "foreign messages", append: &table.Base{N: 2, Stream: thisStream, From: 101, Base: 2}},
		},
		"unplanned events come first": {
			e: published(func(e *evidence) {
				e.state.Last, e.tail = 103, scanned(100, 101, 0, 0)
				e.tail.unplanned = []uuid.UUID{id}
			}),
			want: decision{foreign: 2, unplanned: &unplanned{ids: []uuid.UUID{id}, after: 101, end: 103}},
		},
		"a purge": {
			e: published(func(e *evidence) {
				e.state.First, e.shape.first, e.holes, e.now = 41, 41, stream.Spans{{First: 1, Last: 40}}, time.Unix(9, 0)
			}),
			want: decision{removed: []removal{{run: run{1, 40}, sequence: 1}}, repaired: true, next: 101, reason: "foreign messages"},
		},
		"a purge of a stream that drops by age": {
			e: published(func(e *evidence) {
				e.state.First, e.state.MaxAge, e.holes, e.now = 41, time.Hour, stream.Spans{{First: 1, Last: 40}, {First: 50, Last: 50}}, time.Unix(9, 0)
				e.oldest = 11
			}),
			want: decision{
				removed:  []removal{{run: run{11, 40}, sequence: 1, expires: true}, {run: run{50, 50}, sequence: 50}},
				repaired: true, next: 101, reason: "foreign messages",
			},
		},
		"holes without a cause but a new shape": {
			e:    published(func(e *evidence) { e.now = time.Unix(9, 0) }),
			want: decision{repaired: true, next: 101, reason: "foreign messages"},
		},
		"the stream lost more than the table has": {
			e: published(func(e *evidence) {
				e.state.Last, e.known, e.lost, e.oldest = 20, 19, lostTail{from: 100, to: 20}, 51
				e.tail = scanned(19, 20)
			}),
			want: decision{lost: 80, gone: run{21, 50}, next: 51, base: -30, reason: "dropped events", append: &table.Base{N: 2, Stream: thisStream, From: 51, Base: -30}},
		},
		"nothing was published and the table dropped its first events": {
			e: published(func(e *evidence) {
				e.receipt, e.state.Last, e.known, e.oldest = table.Receipt{}, 0, 0, 11
				e.tail = scanned(0)
			}),
			want: decision{next: 11, base: -10, reason: "foreign messages", append: &table.Base{N: 2, Stream: thisStream, From: 11, Base: -10}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.cfg.Stream = "S"
			got, err := decide(c.e, &c.mem, &c.cfg)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("error %v, want %v", err, c.err)
			}
			if err == nil && !reflect.DeepEqual(*got, c.want) {
				t.Errorf("got  %+v\nwant %+v", *got, c.want)
			}
		})
	}
}

// The scan begins after the known position, which follows from the receipt, the log of bases and the end of the stream.
func TestKnownPosition(t *testing.T) {
	for name, c := range map[string]struct {
		e     *evidence
		known int64
		lost  lostTail
	}{
		"the last receipt":                   {published(func(*evidence) {}), 100, lostTail{}},
		"a receipt of another stream":        {published(func(e *evidence) { e.receipt.Stream = otherStream }), 0, lostTail{}},
		"a stream that goes on":              {published(func(e *evidence) { e.state.Last = 5000 }), 100, lostTail{}},
		"a stream that went back":            {published(func(e *evidence) { e.state.Last = 60 }), 59, lostTail{from: 100, to: 60}},
		"a stream that went back to nothing": {published(func(e *evidence) { e.state.Last = 0 }), 0, lostTail{from: 100, to: 0}},
		"a stream begun with position 51": {published(func(e *evidence) {
			e.log.All[0].From, e.receipt.Position = 51, 0
		}), 50, lostTail{}},
	} {
		t.Run(name, func(t *testing.T) {
			if known, lost := knownPosition(c.e); known != c.known || lost != c.lost {
				t.Errorf("known %d, lost %+v; want %d, %+v", known, lost, c.known, c.lost)
			}
		})
	}
}
