package staleness

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// An address is where clients find the master of Redis: as the name of a service, it leads elsewhere after a fail-over.
// Clients of ours dial through it, those of other processes connect to its listener. Safe for concurrent use.
type address struct {
	target   atomic.Pointer[string]
	listener net.Listener
	done     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	ended bool
}

func listenFor(target string) (*address, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	a := &address{listener: listener, conns: make(map[net.Conn]struct{})}
	a.target.Store(&target)
	a.done.Go(a.accept)
	return a, nil
}

// lead has connections to come go elsewhere. Those that are open stay.
func (a *address) lead(target string) { a.target.Store(&target) }

func (a *address) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, *a.target.Load())
}

func (a *address) accept() {
	for {
		client, err := a.listener.Accept()
		if err != nil {
			return // closed
		}
		a.done.Go(func() { a.serve(client) })
	}
}

// serve copies both ways until one side has ended.
func (a *address) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // it is over
	server, err := a.dial(context.Background(), "tcp", "")
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // it is over
	if !a.admit(client, server) {
		return
	}
	defer a.forget(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // either end may break
		_ = client.Close()
	})
	_, _ = io.Copy(server, client) // either end may break
	_ = server.Close()
	back.Wait()
}

func (a *address) admit(conns ...net.Conn) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range conns {
		a.conns[c] = struct{}{}
	}
	return !a.ended
}

func (a *address) forget(conns ...net.Conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range conns {
		delete(a.conns, c)
	}
}

// close ends it and all its connections, and waits for them.
func (a *address) close() error {
	err := a.listener.Close()
	a.mu.Lock()
	a.ended = true
	for c := range a.conns {
		_ = c.Close() // what it says does not matter any more
	}
	a.mu.Unlock()
	a.done.Wait()
	return err
}
