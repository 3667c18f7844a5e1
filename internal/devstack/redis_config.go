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

// RedisConfig says which Redis to start. The zero value will do.
type RedisConfig struct {
	// URL of a running server (redis://…) to use instead of starting one. The
	// other fields but Log are then ignored.
	URL string
	// Password of the default user; URL holds it. Replicas use it too. Defaults to none.
	Password string
	// TLS is the server's certificate: Redis then takes connections with TLS only, URL
	// begins with rediss. With CA, clients may show a certificate, and must if Args say
	// "--tls-auth-clients yes"; devstack shows the server's own. Replicas need CA.
	// Defaults to no TLS.
	TLS TLSFiles
	// Args are further words of the command line, such as "--maxmemory", "10mb", or
	// "--user", "app", "on", ">secret", "~*", "+get"; they win over our own, but must
	// leave the default user its password and the INFO command. Defaults to none.
	Args []string
	// Dir is the parent of the server's own folder. Defaults to the temporary folder.
	Dir string
	// Log receives one line that says what was started and where. Defaults to nowhere.
	Log io.Writer
}

// argv returns the command line of a server that follows master (nil: none).
func (cfg RedisConfig) argv(port int, master *Redis) []string {
	argv := []string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--repl-diskless-sync-delay", "0"} // the first replica does not wait for a second
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

// tlsConfig returns how devstack itself connects, nil without TLS. It does not ask
// for proof whose server it is: the process id is proof.
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

// ready returns nil when the server with this port and pid answers; see process.
func (cfg RedisConfig) ready(ctx context.Context, port, pid int) error {
	answered, err := cfg.serverPID(ctx, address(port))
	if err == nil && answered != pid {
		err = fmt.Errorf("port %d is taken by process %d", port, answered)
	}
	return err
}

// serverPID asks a Redis server for its process id: what tells our server from
// another on the same port. It speaks the protocol itself, since a client logs each
// refused connection, and a starting server refuses some.
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
	ask := "INFO server\r\nQUIT\r\n"
	if cfg.Password != "" {
		ask = fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(cfg.Password), cfg.Password) + ask
	}
	if _, err := io.WriteString(conn, ask); err != nil {
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
	return 0, fmt.Errorf("INFO names no process_id and ends with %q: %w", last, cmp.Or(lines.Err(), io.EOF))
}
