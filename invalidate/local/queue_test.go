package local

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestQueueOrder(t *testing.T) {
	t.Parallel()
	q := queue{most: 3, grid: 10}
	if _, ok := q.next(); ok {
		t.Error("an empty queue has a next due time")
	}
	for i := range 3 {
		if !q.add(eviction{due: 100 + time.Duration(i), key: fmt.Sprint(i)}) {
			t.Errorf("eviction %d was refused", i)
		}
	}
	if _, ok := q.pop(99); ok {
		t.Error("popped an eviction before it was due")
	}
	if v, ok := q.pop(101); !ok || v.key != "0" {
		t.Errorf("popped %+v", v)
	}
	q.add(eviction{due: 103, key: "3"})
	if q.add(eviction{due: 104, key: "4"}) {
		t.Error("a full queue accepted an eviction")
	}
	if next, ok := q.next(); !ok || next != 110 {
		t.Errorf("next is %d", next)
	}
	if q.flushDue(109) || !q.flushDue(110) || q.flushDue(110) {
		t.Error("the flush is not due once at 110")
	}
}

// Each key that is added is popped, or a flush is due no earlier than the key and at most a grid later than the key that
// did not fit. The number of flushes stays bounded.
func TestQueueProperties(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const after = 80
		q := queue{most: rapid.IntRange(1, 20).Draw(t, "most"), grid: after / flushSteps}
		waiting := map[string]time.Duration{} // due
		now := time.Duration(1)
		for i := range rapid.IntRange(1, 200).Draw(t, "n") {
			now += time.Duration(rapid.IntRange(0, 30).Draw(t, "wait"))
			if q.flushDue(now) {
				for key, due := range waiting {
					if due <= now {
						delete(waiting, key)
					}
				}
			}
			for {
				v, ok := q.pop(now)
				if !ok {
					break
				}
				if v.due > now {
					t.Fatalf("%s popped at %d, due at %d", v.key, now, v.due)
				}
				delete(waiting, v.key)
			}
			for key, due := range waiting {
				if now > due+after+q.grid {
					t.Fatalf("%s was due at %d, it is %d", key, due, now)
				}
			}
			key := fmt.Sprint(i)
			waiting[key] = now + after
			q.add(eviction{due: now + after, key: key})
			if len(q.list) > q.most || len(q.flushes) > flushSteps+1 {
				t.Fatalf("%d keys and %d flushes", len(q.list), len(q.flushes))
			}
		}
	})
}
