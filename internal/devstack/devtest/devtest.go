// Package devtest provides tests with real servers from devstack, and with names that no other test uses. A test binary
// has at most one shared server of each kind, which the first test that needs it starts. A server that cannot start
// fails the test: no test is ever skipped.
//
// A package that uses devtest declares
//
//	func TestMain(m *testing.M) { devtest.Main(m) }
//
// All functions are safe for concurrent use by parallel tests.
package devtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// Main runs the tests, closes the shared servers, calls the functions in after, checks that no goroutine remains if the
// tests passed, and exits. It does not return, so functions that the caller deferred do not run.
func Main(m *testing.M, after ...func()) {
	before := goleak.IgnoreCurrent()
	code := m.Run()
	err := closeAll()
	for _, do := range after {
		do()
	}
	if err == nil && code == 0 {
		err = goleak.Find(before)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "after the tests:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Eventually calls cond until it returns nil. If cond still returns an error after d, Eventually ends the test with
// that error and with what, which names the awaited condition, such as "backlog empty".
//
// Eventually must be called from the goroutine of the test. cond must return within a bounded time. It must return
// errors instead of ending the test: a connection may be reconnecting in one call and work in the next.
func Eventually(t testing.TB, d time.Duration, what string, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s; last error: %v", what, d, err)
		}
		_ = wait.For(context.Background(), pause) // not t.Context(), which has ended when a cleanup function runs
	}
}

var (
	startedMu sync.Mutex
	started   []io.Closer // shared servers, which Main closes
)

func closeLater(server io.Closer) {
	startedMu.Lock()
	defer startedMu.Unlock()
	started = append(started, server)
}

func closeAll() error {
	startedMu.Lock()
	defer startedMu.Unlock()
	var errs []error
	for _, server := range started {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}

// A lazy server is started by the first test that needs it, and closed by Main.
type lazy[S io.Closer] struct {
	once   sync.Once
	server S
	err    error
}

func (l *lazy[S]) get(t testing.TB, start func() (S, error)) S {
	t.Helper()
	l.once.Do(func() {
		l.server, l.err = start()
		if l.err == nil {
			closeLater(l.server)
		}
	})
	if l.err != nil {
		t.Fatal(l.err)
	}
	return l.server
}

// own closes a server when the test that started it ends.
func own[S io.Closer](t testing.TB, server S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// last returns the last of the optional configurations, or the zero value.
func last[C any](given []C) C {
	var zero C
	return append([]C{zero}, given...)[len(given)]
}
