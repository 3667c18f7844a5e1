// Package faultnet is a TCP proxy that breaks: it cuts, stalls, swallows one direction, slices and delays, for every
// server that speaks over TCP. Tests put it between a client and a real server.
package faultnet

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Direction of the bytes through a proxy.
type Direction int

// The two ways through a proxy.
const (
	ToServer Direction = iota
	ToClient
)

// Proxy forwards connections to a server until something is broken. Its methods are safe for concurrent use; what
// they set holds for the connections that are open and for those to come.
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

// fault is what happens to the bytes of one direction.
type fault struct {
	stall bool          // they wait
	drop  bool          // they are read and thrown away
	slice int           // they go in pieces of so many bytes; 0 as they come
	delay time.Duration // before each piece
}

// Listen starts a proxy for a server at host:port, on a free port of 127.0.0.1. Close ends it.
func Listen(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p := &Proxy{target: target, listener: listener, changed: make(chan struct{}), conns: make(map[net.Conn]struct{})}
	p.done.Go(p.accept)
	return p, nil
}

// Addr is where clients connect: host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut breaks every open connection with a reset; new ones go through.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
}

// Refuse breaks every open connection and closes new ones at once, until Heal.
func (p *Proxy) Refuse() {
	p.set(func() { p.refuse = true })
	p.Cut()
}

// Stall holds the bytes of a direction back until Heal; connections stay open, as to a host that vanished.
func (p *Proxy) Stall(d Direction) { p.set(func() { p.faults[d].stall = true }) }

// Drop throws the bytes of a direction away until Heal. What was dropped is gone: after Heal, Cut is due.
func (p *Proxy) Drop(d Direction) { p.set(func() { p.faults[d].drop = true }) }

// Dropped says how many bytes of a direction were thrown away so far.
func (p *Proxy) Dropped(d Direction) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dropped[d]
}

// Slice sends the bytes of a direction in pieces of n bytes with a delay before each, until Heal.
func (p *Proxy) Slice(d Direction, n int, delay time.Duration) {
	p.set(func() { p.faults[d].slice, p.faults[d].delay = n, delay })
}

// Heal ends every fault.
func (p *Proxy) Heal() {
	p.set(func() { p.faults, p.refuse = [2]fault{}, false })
}

// Close ends the proxy and all its connections, and waits for them.
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
			return // closed
		}
		p.done.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close() //nolint:errcheck // whatever it says, it is gone
	server, err := net.DialTimeout("tcp", p.target, 5*time.Second)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close() //nolint:errcheck // whatever it says, it is gone
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

// pump copies one direction until one end is closed. gone says that the other direction has ended.
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

// pass waits while the direction is stalled, then for its delay, and says what else happens to the next piece.
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

// reset closes a connection so that its peer notices at once.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then Close sends RST
	}
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return // it was broken already
	}
}
