package dial

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

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// A Peer is a host that a URL leads to.
type Peer struct {
	Host string // a name, an address or the folder of a Unix socket; empty is this machine
	Flaw string // of the connection, for a person; empty if it is encrypted and the server verified
}

const (
	plaintext  = "the connection is not encrypted"
	unverified = "the server is not verified"
)

// isLocal reports whether a host is this machine. It resolves no names: any but localhost counts as another machine,
// also postgres and redis of docker compose.
func isLocal(host string) bool {
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

// exposed returns the first peer that a command must not connect to; one without encryption comes first.
func exposed(peers []Peer) (Peer, bool) {
	for _, flaw := range []string{plaintext, unverified} {
		for _, p := range peers {
			if p.Flaw == flaw && !isLocal(p.Host) {
				return p, true
			}
		}
	}
	return Peer{}, false
}

// safeWays names, for each URL, what makes a connection to another machine safe.
var safeWays = map[string]string{
	"database_url": "add sslmode=verify-full to the URL, or set --database-ca FILE (the CA of its certificate)",
	"nats_url":     "write tls://, or set --nats-ca FILE (the CA of its certificate)",
	"redis_url":    "write rediss:// without skip_verify, or set --redis-ca FILE (the CA of its certificate)",
}

// allow returns an error if a connection would leave this machine in plaintext or to an unverified server. With the
// setting insecure it only logs a warning.
func allow(s *setting.Set, key string, peers []Peer) error {
	p, bad := exposed(peers)
	if !bad {
		return nil
	}
	if s.On("insecure") {
		s.Log.Warn("insecure: "+p.Flaw, "setting", key, "host", p.Host, "origin", s.Origin("insecure").From)
		return nil
	}
	from := s.Origin(key).From
	if key == "database_url" && s.Text(key) == "" {
		from = "PG* variables"
	}
	return exit.Usagef(nil, "%s: %q is another machine and %s; %s; in a network that nobody else can enter, allow it with --insecure",
		from, p.Host, p.Flaw, safeWays[key])
}

// Exposed returns the first host of a URL that a command must not connect to without the setting insecure. key names
// the setting of such a URL: database_url, nats_url or redis_url. A URL that cannot be parsed has none.
func Exposed(key, text string) (Peer, bool) {
	var peers []Peer
	switch key {
	case "database_url":
		if c, err := pgconn.ParseConfig(text); err == nil {
			peers = postgresPeers(c)
		}
	case "nats_url":
		if hosts, err := natsPeers(text, false); err == nil {
			peers = hosts
		}
	case "redis_url":
		if o, err := parseRedis(text); err == nil {
			peers = redisPeers(o)
		}
	}
	return exposed(peers)
}

// tlsFlaw returns what is wrong with a connection. One whose certificate chain is verified by a CA of the user's own
// counts as verified, whether its name is checked or not.
func tlsFlaw(c *tls.Config) string {
	switch {
	case c == nil:
		return plaintext
	case c.InsecureSkipVerify && (c.VerifyPeerCertificate == nil || c.RootCAs == nil):
		return unverified
	}
	return ""
}

func postgresPeers(c *pgconn.Config) []Peer {
	peers := []Peer{{c.Host, tlsFlaw(c.TLSConfig)}}
	for _, f := range c.Fallbacks { // other hosts, and the fallback of sslmode=prefer
		peers = append(peers, Peer{f.Host, tlsFlaw(f.TLSConfig)})
	}
	return peers
}

// natsPeers parses URLs as the library does, which uses TLS for all of them if one is tls:// or wss://.
func natsPeers(urls string, secure bool) ([]Peer, error) {
	var hosts []string
	for _, item := range setting.Split(urls) {
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
	var peers []Peer
	for _, host := range hosts {
		p := Peer{Host: host}
		if !secure {
			p.Flaw = plaintext
		}
		peers = append(peers, p)
	}
	return peers, nil
}

func redisPeers(o *redis.UniversalOptions) []Peer {
	var peers []Peer
	for _, address := range o.Addrs {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			host = address // without a port
		}
		peers = append(peers, Peer{host, tlsFlaw(o.TLSConfig)})
	}
	return peers
}

// keepLocal refuses other machines that an unverified Redis on this machine names: a cluster names its nodes, a
// sentinel its master.
func keepLocal(o *redis.UniversalOptions) {
	flaw := tlsFlaw(o.TLSConfig)
	if flaw == "" {
		return
	}
	timeout := o.DialTimeout
	if timeout == 0 {
		timeout = 5 * time.Second // the library's default
	}
	dial := redis.NewDialer(&redis.Options{DialTimeout: timeout, TLSConfig: o.TLSConfig})
	o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err == nil && !isLocal(host) {
			return nil, fmt.Errorf("redis names another machine, %q, and %s; %s, or allow it with --insecure", host, flaw, safeWays["redis_url"])
		}
		return dial(ctx, network, address)
	}
}
