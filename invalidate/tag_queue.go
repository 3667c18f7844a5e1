package invalidate

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// maxTags is how many tags of one consumer may wait. The consumer continues when fewer wait.
const maxTags = 1024

// A tagQueue deletes the members of tags, one tag after another, in a goroutine of its own, so that a large tag does
// not delay the keys of other events.
//
// It does not change the membership of a tag. To remove a member as well, before or after its value, would lose a
// member whose value is filled in between. Values that are filled during a scan are found by the echo, which scans
// again.
//
// A message is acknowledged when all its tags have been scanned. A waiting tag is scanned once for all messages that
// request it before its scan begins. A message whose tags are all waiting already, each requested by another
// unacknowledged message, is therefore acknowledged at once: if this process dies, the server redelivers those messages
// and with them the tags. So the number of tags limits the number of messages in hand.
type tagQueue struct {
	consumer *consumer

	mu      sync.Mutex
	changed sync.Cond          // signaled when waiting or closed changed, or a context ended
	waiting []*tagJob          // in the order of arrival; the first one may be the one being scanned
	byName  map[string]*tagJob // waiting tags whose scan has not begun
	closed  bool
}

// A tagJob is a tag to be scanned and the messages whose acknowledgement depends on it.
type tagJob struct {
	tag      string
	carriers []*carrier
}

// A carrier is a message that is acknowledged when the last of its tags has been scanned.
type carrier struct {
	msg  jetstream.Msg
	left int
}

func newTagQueue(c *consumer) *tagQueue {
	q := &tagQueue{consumer: c, byName: make(map[string]*tagJob)}
	q.changed.L = &q.mu
	return q
}

// run starts the goroutine that scans tags. It ends when ctx ends or the returned function is called, which waits for
// it.
func (q *tagQueue) run(ctx context.Context) (stop func()) {
	ended := make(chan struct{})
	unblock := context.AfterFunc(ctx, q.close)
	q.mu.Lock()
	q.closed = false
	q.mu.Unlock()
	go func() {
		defer close(ended)
		for job := q.next(); job != nil; job = q.next() {
			err := q.consumer.scan(ctx, job.tag)
			q.finish(job, err == nil)
		}
	}()
	return func() { q.close(); unblock(); <-ended }
}

// close ends run after the current scan. The messages of waiting tags stay unacknowledged.
func (q *tagQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}

// next waits for a tag and starts its job. It returns nil when the queue is closed.
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
	delete(q.byName, job.tag) // this scan does not cover requests that arrive from now on
	return job
}

// finish removes a scanned tag from the queue and acknowledges the messages that waited only for it. If the scan was
// interrupted because ctx ended, the tag stays, and drain gives its messages back.
func (q *tagQueue) finish(job *tagJob, scanned bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !scanned {
		return
	}
	q.waiting = q.waiting[1:]
	for _, c := range job.carriers {
		if c.left--; c.left == 0 && c.msg.Ack() != nil {
			q.consumer.counters.update(func(s *ConsumerStats) { s.AckErrors++ })
		}
	}
	q.countWaiting()
	q.changed.Broadcast()
}

// enqueue adds the tags of messages. It waits while maxTags tags are waiting, and fails if ctx ends first.
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
	q.countWaiting()
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
		q.consumer.counters.update(func(s *ConsumerStats) { s.AckErrors++ })
	}
}

func (q *tagQueue) countWaiting() {
	n := len(q.waiting)
	q.consumer.counters.update(func(s *ConsumerStats) { s.TagsWaiting = n })
}

// drain waits until no tag is waiting or ctx ends. Then it gives the messages of the remaining tags back to the server.
func (q *tagQueue) drain(ctx context.Context) {
	defer context.AfterFunc(ctx, q.wakeAll)()
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) > 0 && ctx.Err() == nil {
		q.changed.Wait()
	}
	for _, job := range q.waiting {
		for _, c := range job.carriers {
			_ = c.msg.Nak() // if it is lost, the server redelivers the message after AckWait
		}
	}
	q.waiting = nil
	clear(q.byName)
}

// wakeAll makes every waiting goroutine check its context. It holds the mutex so that it cannot run between the check
// and the wait of such a goroutine.
func (q *tagQueue) wakeAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.changed.Broadcast()
}

// extend restarts the AckWait of the messages whose tags are waiting.
func (q *tagQueue) extend() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, job := range q.waiting {
		for _, c := range job.carriers {
			_ = c.msg.InProgress()
		}
	}
}
