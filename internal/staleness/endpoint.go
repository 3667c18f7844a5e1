package staleness

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// An endpoint is the fixed address of the Redis master, like the name of a service that leads to another server after a
// fail-over. Clients in this process call dial; those in other processes connect to the listener. It is safe for concurrent
// use.
type endpoint struct {
	target   atomic.Pointer[string]
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

func listenFor(target string) (*endpoint, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	e := &endpoint{listener: listener, conns: make(map[net.Conn]struct{})}
	e.target.Store(&target)
	e.done.Go(e.accept)
	return e, nil
}

// redirect sends new connections to another target. Open connections are not affected.
func (e *endpoint) redirect(target string) { e.target.Store(&target) }

func (e *endpoint) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, *e.target.Load())
}

func (e *endpoint) accept() {
	for {
		client, err := e.listener.Accept()
		if err != nil {
			return // the listener was closed
		}
		e.done.Go(func() { e.serve(client) })
	}
}

// serve copies data in both directions until one side ends.
func (e *endpoint) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // nothing more is written
	server, err := e.dial(context.Background(), "tcp", "")
	if err != nil {
		return
	}
	defer server.Close() //nolint:errcheck // nothing more is written
	if !e.add(client, server) {
		return
	}
	defer e.remove(client, server)
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // either end may break
		_ = client.Close()
	})
	_, _ = io.Copy(server, client) // either end may break
	_ = server.Close()
	back.Wait()
}

// add registers connections for close. It returns false once the endpoint is closed.
func (e *endpoint) add(conns ...net.Conn) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range conns {
		e.conns[c] = struct{}{}
	}
	return !e.closed
}

func (e *endpoint) remove(conns ...net.Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range conns {
		delete(e.conns, c)
	}
}

// close closes the listener and all connections, and waits for their goroutines.
func (e *endpoint) close() error {
	err := e.listener.Close()
	e.mu.Lock()
	e.closed = true
	for c := range e.conns {
		_ = c.Close() // the experiment is over
	}
	e.mu.Unlock()
	e.done.Wait()
	return err
}
