package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

// A peer is a host that a URL leads to. What leaves this machine is encrypted, to a server whose certificate was
// verified, or the command does not connect: events and passwords are at stake, and a forged ack loses an event.
type peer struct {
	host string // a name, an address or the folder of a Unix socket; empty is this machine
	flaw string // plaintext, unverified, or empty: encrypted and verified
}

const (
	plaintext  = "nothing encrypts the connection"
	unverified = "nothing verifies the server's certificate"
)

// local says that what is sent to a host does not leave this machine. Names are not looked up: but for localhost, a
// name is another machine, postgres and redis of docker compose as well.
func local(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// exposed is the first peer that must not be connected to; plaintext comes before unverified.
func exposed(peers []peer) (peer, bool) {
	for _, flaw := range []string{plaintext, unverified} {
		for _, p := range peers {
			if p.flaw == flaw && !local(p.host) {
				return p, true
			}
		}
	}
	return peer{}, false
}

// safeWays says for each server how to connect to another machine.
var safeWays = map[string]string{
	"database_url": "add sslmode=verify-full to the URL or give --database-ca FILE (of the CA that signed its certificate)",
	"nats_url":     "write tls:// or give --nats-ca FILE (of the CA that signed its certificate)",
	"redis_url":    "write rediss:// without skip_verify or give --redis-ca FILE (of the CA that signed its certificate)",
}

// allow refuses to connect to another machine in plaintext or without verification, unless that was asked for.
func (s settings) allow(key string, peers []peer) error {
	p, bad := exposed(peers)
	if !bad {
		return nil
	}
	if s.on("insecure") {
		s.log.Warn("insecure: "+p.flaw, "setting", key, "host", p.host, "origin", s.origin("insecure").from)
		return nil
	}
	from := s.origin(key).from
	if key == "database_url" && s.text(key) == "" {
		from = "PG* variables"
	}
	return refuseExposed(from, key, p)
}

func refuseExposed(from, key string, p peer) error {
	return usagef(nil, "%s: %q is another machine, and %s: %s; or, in a network that nobody else can enter, allow it with --insecure",
		from, p.host, p.flaw, safeWays[key])
}

// tlsFlaw judges one connection. A chain that is verified against a CA of one's own counts, with its name or without.
func tlsFlaw(c *tls.Config) string {
	switch {
	case c == nil:
		return plaintext
	case c.InsecureSkipVerify && (c.VerifyPeerCertificate == nil || c.RootCAs == nil):
		return unverified
	}
	return ""
}

func postgresPeers(c *pgconn.Config) []peer {
	peers := []peer{{c.Host, tlsFlaw(c.TLSConfig)}}
	for _, f := range c.Fallbacks { // other hosts, and what sslmode=prefer falls back to
		peers = append(peers, peer{f.Host, tlsFlaw(f.TLSConfig)})
	}
	return peers
}

// natsPeers reads URLs as the library does. One of tls:// or wss:// makes it use TLS with all of them.
func natsPeers(urls string, secure bool) ([]peer, error) {
	var hosts []string
	for _, item := range split(urls) {
		if !strings.Contains(item, "://") {
			item = "nats://" + item
		}
		u, err := url.Parse(item)
		if err != nil {
			return nil, err
		}
		secure = secure || u.Scheme == "tls" || u.Scheme == "wss"
		hosts = append(hosts, u.Hostname())
	}
	var peers []peer
	for _, host := range hosts {
		p := peer{host: host}
		if !secure {
			p.flaw = plaintext
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func redisPeers(o *redis.UniversalOptions) []peer {
	var peers []peer
	for _, address := range o.Addrs {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address // without a port
		}
		peers = append(peers, peer{host, tlsFlaw(o.TLSConfig)})
	}
	return peers
}

// keepLocal lets a Redis that need not be trusted, since it is on this machine, not name others: a cluster names its
// nodes, a sentinel its master.
func keepLocal(o *redis.UniversalOptions) {
	flaw := tlsFlaw(o.TLSConfig)
	if flaw == "" {
		return
	}
	timeout := o.DialTimeout
	if timeout == 0 {
		timeout = 5 * time.Second // as the library has it
	}
	dial := redis.NewDialer(&redis.Options{DialTimeout: timeout, TLSConfig: o.TLSConfig})
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err == nil && !local(host) {
			return nil, fmt.Errorf("redis names another machine, %q, and %s: %s, or allow it with --insecure", host, flaw, safeWays["redis_url"])
		}
		return dial(ctx, network, address)
	}
}
