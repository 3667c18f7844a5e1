package devstack

import (
	"io"
	"net"
	"sync"
)

// A link passes the connections that one node of a cluster opens to another, and can
// be cut. Safe for concurrent use.
type link struct {
	listener net.Listener
	to       string // host:port
	work     sync.WaitGroup

	mu    sync.Mutex
	cut   bool
	conns map[net.Conn]struct{} // both ends of all that is passed
}

// openLink opens a link to an address. The caller must close it.
func openLink(to string) (*link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &link{listener: listener, to: to, conns: map[net.Conn]struct{}{}}
	l.work.Go(l.accept)
	return l, nil
}

// accept runs until the link is closed.
func (l *link) accept() {
	for {
		conn, err := l.listener.Accept()
		if err != nil {
			return
		}
		l.work.Go(func() { l.pass(conn) })
	}
}

// pass carries bytes both ways until one end closes or the link is cut.
func (l *link) pass(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.to) // on this machine: it answers or refuses at once
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
		io.Copy(near, far) //nolint:errcheck // either way it is over
		near.Close()
	})
	io.Copy(far, near) //nolint:errcheck // either way it is over
	far.Close()
	back.Wait()
}

// hold remembers two ends, unless the link is cut.
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

// setCut closes what is passed now and whatever comes, or lets connections pass again.
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

// close ends the link and returns when all its goroutines have.
func (l *link) close() error {
	err := l.listener.Close()
	l.setCut(true)
	l.work.Wait()
	return err
}
