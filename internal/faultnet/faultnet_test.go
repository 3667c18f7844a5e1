package faultnet_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxied starts an echo server and a proxy in front of it. It returns the proxy and a function that connects through
// it.
func proxied(t *testing.T) (*faultnet.Proxy, func() net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }()
		}
	}()
	p, err := faultnet.Listen(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		_ = listener.Close()
		<-served
	})
	return p, func() net.Conn {
		c, err := net.Dial("tcp", p.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

// receive reads n bytes, or returns what it read and an error after a time.
func receive(c net.Conn, n int, within time.Duration) (string, error) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	buffer := make([]byte, n)
	got, err := io.ReadFull(c, buffer)
	return string(buffer[:got]), err
}

func expect(t *testing.T, c net.Conn, want string) {
	t.Helper()
	if got, err := receive(c, len(want), 5*time.Second); got != want || err != nil {
		t.Fatalf("got %q, %v; want %q", got, err, want)
	}
}

func TestForwardAndCut(t *testing.T) {
	p, dial := proxied(t)
	c := dial()
	send(t, c, "hello")
	expect(t, c, "hello")
	p.Cut()
	if _, err := receive(c, 1, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read after Cut: got error %v, want a broken connection", err)
	}
	c = dial()
	send(t, c, "again")
	expect(t, c, "again")
}

func TestStallHoldsBack(t *testing.T) {
	p, dial := proxied(t)
	c := dial()
	send(t, c, "a")
	expect(t, c, "a")
	for _, d := range []faultnet.Direction{faultnet.ToServer, faultnet.ToClient} {
		p.Stall(d)
		send(t, c, "held")
		if got, err := receive(c, 1, 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read while stalled: got %q, %v; want a timeout", got, err)
		}
		p.Heal()
		expect(t, c, "held")
	}
}

func TestDropLosesOneDirection(t *testing.T) {
	p, dial := proxied(t)
	c := dial()
	p.Drop(faultnet.ToClient)
	send(t, c, "lost")
	for deadline := time.Now().Add(5 * time.Second); p.Dropped(faultnet.ToClient) < len("lost"); {
		if time.Now().After(deadline) {
			t.Fatal("Dropped() stays 0, want the bytes of the reply")
		}
		runtime.Gosched()
	}
	p.Heal()
	send(t, c, "kept")
	expect(t, c, "kept")
}

func TestSliceAndDelay(t *testing.T) {
	p, dial := proxied(t)
	c := dial()
	p.Slice(faultnet.ToServer, 1, time.Millisecond)
	start := time.Now()
	text := string(bytes.Repeat([]byte("x"), 50))
	send(t, c, text)
	expect(t, c, text)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Fatalf("50 pieces with a delay of 1ms took %v, want at least 50ms", took)
	}
}

func TestRefuse(t *testing.T) {
	p, dial := proxied(t)
	p.Refuse()
	if c, err := net.Dial("tcp", p.Addr()); err == nil { // the reset may already arrive here
		if _, err := receive(c, 1, 5*time.Second); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read while refused: got error %v, want a broken connection", err)
		}
		_ = c.Close()
	}
	p.Heal()
	c := dial()
	send(t, c, "a")
	expect(t, c, "a")
}
