package devstack

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// RedisConfig configures a Redis server. The zero value is usable.
type RedisConfig struct {
	// URL of a running external server (redis://…), used instead of starting one. All other fields except Log are then
	// ignored.
	URL string
	// Password of the default user. The URL of the server contains it, and replicas use it too. Defaults to none.
	Password string
	// TLS is the server's certificate. Redis then accepts only connections with TLS, and the URL of the server begins
	// with rediss. With CA, clients may present a certificate, and must if Args contain "--tls-auth-clients yes";
	// devstack presents the server's certificate. Replicas need CA. Defaults to no TLS.
	TLS TLSFiles
	// Args are additional arguments of the command line, such as "--maxmemory", "10mb", or "--user", "app", "on",
	// ">secret", "~*", "+get". They override the arguments that devstack makes. They must not change the password of
	// the default user or its permission to call INFO. Defaults to none.
	Args []string
	// Dir is the parent of the server's own folder. Defaults to the temporary folder.
	Dir string
	// Log receives one line that describes the server and its address. Defaults to no log.
	Log io.Writer
}

// argv returns the command line of a server that replicates master (nil: a master).
func (cfg RedisConfig) argv(port int, master *Redis) []string {
	argv := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0"} // without it a first replica waits for others before it is served
	if cfg.TLS.Cert == "" {
		argv = append(argv, "--port", strconv.Itoa(port))
	} else {
		argv = append(argv, "--port", "0", "--tls-port", strconv.Itoa(port),
			"--tls-cert-file", cfg.TLS.Cert, "--tls-key-file", cfg.TLS.Key)
		if cfg.TLS.CA == "" {
			argv = append(argv, "--tls-auth-clients", "no")
		} else {
			argv = append(argv, "--tls-ca-cert-file", cfg.TLS.CA, "--tls-auth-clients", "optional", "--tls-replication", "yes")
		}
	}
	if cfg.Password != "" {
		argv = append(argv, "--requirepass", cfg.Password, "--masterauth", cfg.Password)
	}
	if master != nil {
		argv = append(argv, "--replicaof", "127.0.0.1", strconv.Itoa(master.proc.port))
	}
	return append(argv, cfg.Args...)
}

func (cfg RedisConfig) url(port int) string {
	u := url.URL{Scheme: "redis", Host: address(port), Path: "/0"}
	if cfg.TLS.Cert != "" {
		u.Scheme = "rediss"
	}
	if cfg.Password != "" {
		u.User = url.UserPassword("", cfg.Password)
	}
	return u.String()
}

// tlsConfig returns the TLS configuration of devstack's own connections, or nil without TLS. It does not verify the
// server's certificate: ready compares the process id instead.
func (cfg RedisConfig) tlsConfig() (*tls.Config, error) {
	if cfg.TLS.Cert == "" {
		return nil, nil
	}
	own, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{Certificates: []tls.Certificate{own}, InsecureSkipVerify: true}, nil
}

// ready returns nil if the server with this port and pid answers; see process.
func (cfg RedisConfig) ready(ctx context.Context, port, pid int) error {
	answered, err := cfg.serverPID(ctx, address(port))
	if err == nil && answered != pid {
		err = fmt.Errorf("port %d is in use by process %d", port, answered)
	}
	return err
}

// serverPID returns the process id of a Redis server, which distinguishes our server from another one at the same port.
// It implements the few bytes of the protocol itself, because a client library logs each refused connection, and a
// starting server refuses some.
func (cfg RedisConfig) serverPID(ctx context.Context, addr string) (int, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	security, err := cfg.tlsConfig()
	if err != nil {
		return 0, err
	}
	if security != nil {
		conn = tls.Client(conn, security)
	}
	request := "INFO server\r\nQUIT\r\n"
	if cfg.Password != "" {
		request = fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(cfg.Password), cfg.Password) + request
	}
	if _, err := io.WriteString(conn, request); err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(conn)
	last := ""
	for lines.Scan() {
		if pid, ok := strings.CutPrefix(lines.Text(), "process_id:"); ok {
			return strconv.Atoi(pid)
		}
		last = lines.Text()
	}
	return 0, fmt.Errorf("no process_id in the reply to INFO, which ends with %q: %w", last, cmp.Or(lines.Err(), io.EOF))
}
