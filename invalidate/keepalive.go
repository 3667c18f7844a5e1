package invalidate

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keepAlive calls extend three times per AckWait until stop is called, so that the server does not redeliver messages
// that are in hand. No call of extend is running when stop has returned.
func (c *consumer) keepAlive(extend func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(c.cfg.AckWait/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			extend()
			timer.Reset(c.cfg.AckWait / 3)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// inProgress restarts the AckWait of messages.
func inProgress(msgs []jetstream.Msg) {
	for _, msg := range msgs {
		_ = msg.InProgress() // if it is lost, the server redelivers the message
	}
}
