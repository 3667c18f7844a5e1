package invalidate

import (
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// keepAlive has messages touched three times in each AckWait, until stop is called.
func (l *lane) keepAlive(touch func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(l.cfg.AckWait/3, func() {
		mu.Lock()
		defer mu.Unlock()
		if !stopped {
			touch()
			timer.Reset(l.cfg.AckWait / 3)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// touch tells the server that messages are still wanted.
func touch(msgs []jetstream.Msg) {
	for _, msg := range msgs {
		_ = msg.InProgress() // the server gives it to us again if this does not arrive
	}
}
