// Package faultnet provides a TCP proxy that injects network faults. It can break connections, hold back or discard the
// bytes of one direction, and split and delay them. Tests place it between a client and a real server; it works with
// every protocol over TCP.
package faultnet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction is a direction of the bytes through a proxy.
type Direction int

// The two directions.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy forwards connections to a server and applies the current faults to them. Its methods are safe for concurrent
// use. A fault applies to open connections and to new ones.
type Proxy struct {
	target   string
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when a fault changes
	faults  [2]fault
	refuse  bool
	closed  bool
	conns   map[net.Conn]struct{}
	dropped [2]int
}

// fault describes the treatment of the bytes of one direction.
type fault struct {
	stall bool          // bytes are held back
	drop  bool          // bytes are read and discarded
	slice int           // maximum size of a piece in bytes; 0 means no limit
	delay time.Duration // pause before each piece
}

// Listen starts a proxy for the server at target, which is host:port. The proxy listens on a free port of 127.0.0.1.
// The caller must Close it.
func Listen(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{target: target, listener: listener, changed: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	p.done.Go(p.accept)
	return p, nil
}

// Addr returns the address at which the proxy listens, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets every open connection. New connections are not affected.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Refuse resets every open connection, and every new one immediately, until Heal.
func (p *Proxy) Refuse() {
	p.set(func() { p.refuse = true })
	p.Cut()
}

// Stall holds back the bytes of a direction until Heal. Connections stay open, as they do when a host becomes
// unreachable.
func (p *Proxy) Stall(d Direction) { p.set(func() { p.faults[d].stall = true }) }

// Drop discards the bytes of a direction until Heal. The byte stream of an open connection then has a gap, which TCP
// never delivers: after Heal the caller should Cut the connections.
func (p *Proxy) Drop(d Direction) { p.set(func() { p.faults[d].drop = true }) }

// Dropped returns the number of bytes of a direction that Drop has discarded since Listen.
func (p *Proxy) Dropped(d Direction) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped[d]
}

// Slice splits the bytes of a direction into pieces of at most n bytes and pauses before each piece, until Heal.
func (p *Proxy) Slice(d Direction, n int, delay time.Duration) {
	p.set(func() { p.faults[d].slice, p.faults[d].delay = n, delay })
}

// Heal ends all faults.
func (p *Proxy) Heal() {
	p.set(func() { p.faults, p.refuse = [2]fault{}, false })
}

// Close stops the proxy, resets all its connections, and waits until its goroutines have ended. A second Close returns
// an error.
func (p *Proxy) Close() error {
	p.set(func() { p.closed = true })
	err := p.listener.Close()
	p.Cut()
	p.done.Wait()
	return err
}

func (p *Proxy) set(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // the listener is closed
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // the connection is closed in either case
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close() //nolint:errcheck // the connection is closed in either case
	if !p.admit(client, server) {
		reset(client)
		return
	}
	defer p.forget(client, server)
	gone := make(chan struct{})
	var once sync.Once
	end := func() {
		once.Do(func() {
			close(gone)
			reset(client)
			reset(server)
		})
	}
	var both sync.WaitGroup
	both.Go(func() { defer end(); p.pump(server, client, ToServer, gone) })
	both.Go(func() { defer end(); p.pump(client, server, ToClient, gone) })
	both.Wait()
}

func (p *Proxy) admit(client, server net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse || p.closed {
		return false
	}
	p.conns[client], p.conns[server] = struct{}{}, struct{}{}
	return true
}

func (p *Proxy) forget(client, server net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// pump copies the bytes of one direction until a connection closes. gone is closed when the other direction has ended.
func (p *Proxy) pump(to, from net.Conn, d Direction, gone <-chan struct{}) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		for sent := 0; sent < n; {
			f, ok := p.pass(d, gone)
			if !ok {
				return
			}
			size := n - sent
			if f.slice > 0 {
				size = min(size, f.slice)
			}
			if f.drop {
				p.mu.Lock()
				p.dropped[d] += size
				p.mu.Unlock()
			} else if _, err := to.Write(buffer[sent : sent+size]); err != nil {
				return
			}
			sent += size
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the direction is stalled, then for its delay, and returns the fault that applies to the next piece.
// It returns false if the connection must end.
func (p *Proxy) pass(d Direction, gone <-chan struct{}) (f fault, ok bool) {
	for {
		p.mu.Lock()
		f, changed, closed := p.faults[d], p.changed, p.closed
		p.mu.Unlock()
		if closed {
			return f, false
		}
		var timer <-chan time.Time
		switch {
		case f.stall:
		case f.delay > 0:
			timer = time.After(f.delay)
		default:
			return f, true
		}
		select {
		case <-changed:
		case <-timer:
			return f, true
		case <-gone:
			return f, false
		}
	}
}

// reset closes a connection with RST, so that the peer detects it immediately.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // makes Close send RST
	}
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return // the connection was already broken
	}
}
