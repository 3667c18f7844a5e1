package invalidate

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// maxTags is how many tags of a lane may wait; the lane goes on when there are fewer.
const maxTags = 1024

// A tagQueue deletes the members of tags, one tag after the other, beside the lane, which is not held up by a large one.
//
// The membership is left alone: whoever removes a member as well, before or after its value, loses one that is filled
// in between. What is filled while a tag is scanned is found by the echo, which scans again.
//
// A message is acknowledged when all its tags were scanned. A tag that waits is scanned once for all who asked until
// then, since the scan begins after each of their changes; so a message whose tags all wait already, on behalf of
// messages that are not acknowledged, is acknowledged at once: those carry the tags, and are delivered again if we die.
// That bounds the messages in hand by the number of tags.
type tagQueue struct {
	lane *lane

	mu      sync.Mutex
	changed sync.Cond          // of waiting, busy or closed
	waiting []*tagJob          // in the order they came; the first may be the one in work
	byName  map[string]*tagJob // of those whose scan has not begun
	closed  bool
}

// A tagJob is a tag to be scanned for the messages that carry it.
type tagJob struct {
	tag      string
	carriers []*carrier
}

// A carrier is a message that is acknowledged when its tags are done.
type carrier struct {
	msg  jetstream.Msg
	left int
}

func newTagQueue(l *lane) *tagQueue {
	q := &tagQueue{lane: l, byName: make(map[string]*tagJob)}
	q.changed.L = &q.mu
	return q
}

// run scans in a goroutine of its own until the function that it returns is called, which waits for its end.
func (q *tagQueue) run(ctx context.Context) (stop func()) {
	ended := make(chan struct{})
	unblock := context.AfterFunc(ctx, q.close)
	q.mu.Lock()
	q.closed = false
	q.mu.Unlock()
	go func() {
		defer close(ended)
		for job := q.next(); job != nil; job = q.next() {
			err := q.lane.scan(ctx, job.tag)
			q.finish(job, err == nil)
		}
	}()
	return func() { q.close(); unblock(); <-ended }
}

// close ends run after the scan in work. What still waits stays unacknowledged.
func (q *tagQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// next waits for a tag and takes it in work; nil when closed.
func (q *tagQueue) next() *tagJob {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return nil
	}
	job := q.waiting[0]
	delete(q.byName, job.tag) // who asks from now on is not covered by this scan
	return job
}

// finish takes a tag out of the queue and acknowledges what waited for it alone.
func (q *tagQueue) finish(job *tagJob, done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !done {
		return // ctx has ended: it stays, and is given back
	}
	q.waiting = q.waiting[1:]
	for _, c := range job.carriers {
		if c.left--; c.left == 0 && c.msg.Ack() != nil {
			q.lane.stats.update(func(s *Lane) { s.AckErrors++ })
		}
	}
	q.count()
	q.changed.Broadcast()
}

// enqueue adds the tags of messages. It waits while there are too many, and fails when ctx ends before.
func (q *tagQueue) enqueue(ctx context.Context, list []tagged) error {
	if len(list) == 0 {
		return nil
	}
	defer context.AfterFunc(ctx, q.wakeAll)()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range list {
		for len(q.waiting) >= maxTags && ctx.Err() == nil {
			q.changed.Wait()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		q.add(t)
	}
	q.count()
	q.changed.Broadcast()
	return nil
}

func (q *tagQueue) add(t tagged) {
	c := &carrier{msg: t.msg}
	for _, tag := range t.tags {
		job := q.byName[tag]
		if job == nil {
			job = &tagJob{tag: tag}
			q.byName[tag] = job
			q.waiting = append(q.waiting, job)
		}
		if len(job.carriers) == 0 && t.msg != nil {
			job.carriers = append(job.carriers, c)
			c.left++
		}
	}
	if c.left == 0 && t.msg != nil && t.msg.Ack() != nil {
		q.lane.stats.update(func(s *Lane) { s.AckErrors++ })
	}
}

func (q *tagQueue) count() {
	n := len(q.waiting)
	q.lane.stats.update(func(s *Lane) { s.TagsWaiting = n })
}

// drain waits until no tag waits, or ctx ends, and then lets others have the rest at once.
func (q *tagQueue) drain(ctx context.Context) {
	defer context.AfterFunc(ctx, q.wakeAll)()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && ctx.Err() == nil {
		q.changed.Wait()
	}
	for _, job := range q.waiting {
		for _, c := range job.carriers {
			_ = c.msg.Nak() // if that does not arrive, it happens after AckWait
		}
	}
	q.waiting = nil
	clear(q.byName)
}

// wakeAll makes those who wait look at their context.
func (q *tagQueue) wakeAll() {
	q.mu.Lock() // not between their look and their wait
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// touch tells the server that the messages are still wanted.
func (q *tagQueue) touch() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range q.waiting {
		for _, c := range job.carriers {
			_ = c.msg.InProgress()
		}
	}
}
