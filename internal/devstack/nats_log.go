package devstack

import (
	"errors"
	"fmt"
	"strings"
	"sync"
)

// natsLog keeps why the server could not start and drops the rest. The server's
// own loggers would exit this process instead.
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
