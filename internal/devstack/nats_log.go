package devstack

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// natsLog keeps the fatal errors of a starting server and discards all other messages. The loggers of nats-server would
// exit this process after a fatal error.
type natsLog struct {
	mu     sync.Mutex
	fatals []string
}

func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fatals = append(l.fatals, fmt.Sprintf(format, v...))
}

func (l *natsLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fatals) == 0 {
		return nil
	}
	return errors.New(strings.Join(l.fatals, "; "))
}

func (*natsLog) Noticef(string, ...any) {}
func (*natsLog) Warnf(string, ...any)   {}
func (*natsLog) Errorf(string, ...any)  {}
func (*natsLog) Debugf(string, ...any)  {}
func (*natsLog) Tracef(string, ...any)  {}
