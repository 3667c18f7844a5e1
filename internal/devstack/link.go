package devstack

import (
	"io"
	"net"
	"sync"
)

// A link forwards the connections that one cluster node opens to another, and can be cut. It is safe for concurrent
// use.
type link struct {
	listener net.Listener
	to       string // host:port
	work     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{} // both ends of every forwarded connection
}

// openLink listens on a free port and forwards to an address. The caller must close the link.
func openLink(to string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, to: to, conns: map[net.Conn]struct{}{}}
	l.work.Go(l.accept)
	return l, nil
}

// accept accepts connections until the link is closed.
func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.work.Go(func() { l.pass(conn) })
	}
}

// pass copies bytes in both directions until one end closes or the link is cut.
func (l *link) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.to) // a local address: the kernel accepts or refuses at once
	if err != nil {
		return
	}
	defer far.Close()
	if !l.hold(near, far) {
		return
	}
	defer l.drop(near, far)
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(near, far) //nolint:errcheck // the connection ends in either case
		near.Close()
	})
	io.Copy(far, near) //nolint:errcheck // the connection ends in either case
	far.Close()
	back.Wait()
}

// hold registers both ends of a connection so that setCut can close them. It returns false if the link is cut.
func (l *link) hold(near, far net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return false
	}
	l.conns[near], l.conns[far] = struct{}{}, struct{}{}
	return true
}

func (l *link) drop(near, far net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, near)
	delete(l.conns, far)
}

// setCut closes all current connections and refuses new ones, or, if cut is false, accepts new ones again.
func (l *link) setCut(cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = cut
	if cut {
		for conn := range l.conns {
			conn.Close()
		}
	}
}

// close closes the link and waits until all its goroutines have ended.
func (l *link) close() error {
	err := l.listener.Close()
	l.setCut(true)
	l.work.Wait()
	return err
}
