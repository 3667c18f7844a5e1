// Package devtest gives tests real servers from devstack: one of each kind per
// test binary, started by the first test that asks, and names that no other test
// uses. A server that cannot start fails the test; nothing is ever skipped.
//
// A package that uses it declares
//
//	func TestMain(m *testing.M) { devtest.Main(m) }
//
// All functions are safe for concurrent use by parallel tests.
package devtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Main runs the tests, closes the servers they started, checks that no goroutine
// is left (if the tests passed), does what else comes after, and exits: what the
// caller deferred is not done.
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

// Eventually calls cond until it returns nil, and fails the test with its last
// error if that takes longer than d. The text says what is awaited, as in
// "backlog empty". It must be called from the goroutine of the test.
func Eventually(t testing.TB, d time.Duration, what string, cond func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := cond()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, d, err)
		}
		time.Sleep(pause)
	}
}

var (
	startedMu sync.Mutex
	started   []io.Closer // by any lazy, closed by Main
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

// A lazy server is started by the first test that needs it and closed by Main.
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

// own closes a server at the end of the test that started it.
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

// last returns the last configuration, or the zero one.
func last[C any](given []C) C {
	var zero C
	return append([]C{zero}, given...)[len(given)]
}
