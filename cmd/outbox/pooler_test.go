package main

import (
	"encoding/binary"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// silentPooler is a proxy to PostgreSQL that drops notifications, as a pooler in transaction mode
// does. It returns the URL to connect to.
func silentPooler(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := u.Host
	var all sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	all.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { serveSilently(client, server) })
		}
	})
	u.Host = listener.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable") // the first message of the server would have no length
	u.RawQuery = query.Encode()
	return u.String()
}

func serveSilently(client net.Conn, server string) {
	backend, err := net.Dial("tcp", server)
	if err != nil {
		client.Close()
		return
	}
	var up sync.WaitGroup
	defer func() {
		client.Close()
		backend.Close()
		up.Wait()
	}()
	up.Go(func() {
		io.Copy(backend, client)
		backend.Close()
	})
	for head := make([]byte, 5); ; {
		if _, err := io.ReadFull(backend, head); err != nil {
			return
		}
		to := io.Writer(client)
		if head[0] == 'A' { // NotificationResponse
			to = io.Discard
		}
		if _, err := to.Write(head); err != nil {
			return
		}
		if _, err := io.CopyN(to, backend, int64(binary.BigEndian.Uint32(head[1:]))-4); err != nil {
			return
		}
	}
}
