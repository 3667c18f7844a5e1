package devstack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// NATSConfig configures a NATS server. The zero value is usable.
type NATSConfig struct {
	// URL of a running external server (nats://…), used instead of starting one. All other fields except Log are then
	// ignored.
	URL string
	// Dir is the parent of the server's own folder. Defaults to the temporary folder.
	Dir string
	// Log receives one line that describes the server and its address. The server's own log is discarded. Defaults to
	// no log.
	Log io.Writer
	// SyncAlways makes the server sync each message to disk before it acknowledges the message, as sync_interval:
	// always does. Defaults to false.
	SyncAlways bool
	// MaxPayload is the largest message in bytes. Defaults to the server's 1 MiB.
	MaxPayload int32
	// ConfigFile is the path of a nats-server configuration file, for settings that have no field here: accounts, users
	// and their permissions, TLS, limits. Each Start reads it again. The file cannot change the address, the port and
	// the store, cannot disable JetStream, and cannot enable the server's log. SyncAlways and MaxPayload take
	// precedence if they are set. The URL of the server contains no user, and begins with nats:// even if the file
	// enables TLS. Defaults to none.
	ConfigFile string
}

// NATS is a NATS server in this process, with JetStream and a file store. Its methods are safe for concurrent use.
type NATS struct {
	url   string
	cfg   NATSConfig
	dir   string // the server's own folder, which is also the store; "" for an external server
	guard *guardian
	join  func(*server.Options) // adds the cluster options; nil for a single server

	mu      sync.Mutex
	port    int            // set by the first successful start
	running *server.Server // nil when stopped
	closed  bool
}

// StartNATS starts a server and returns when it accepts connections. If cfg names a URL, it checks that the external
// server accepts connections. The caller must Close the server.
func StartNATS(cfg NATSConfig) (*NATS, error) {
	start := startNATS
	if cfg.URL != "" {
		start = useNATS
	}
	n, err := start(cfg)
	if err != nil {
		return nil, fmt.Errorf("start nats: %w", err)
	}
	return n, nil
}

func useNATS(cfg NATSConfig) (*NATS, error) {
	conn, err := nats.Connect(cfg.URL)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	logf(cfg.Log, "nats: using the external server %s", conn.ConnectedUrlRedacted())
	return &NATS{url: cfg.URL}, nil
}

func startNATS(cfg NATSConfig) (*NATS, error) {
	n, err := newNATS(cfg)
	if err != nil {
		return nil, err
	}
	if err := n.startAnywhere(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	n.url = "nats://" + address(n.port)
	logf(cfg.Log, "nats: using nats-server %s in this process, %s, store %s", server.VERSION, address(n.port), n.dir)
	return n, nil
}

// newNATS creates the folder of a server and starts its guardian.
func newNATS(cfg NATSConfig) (*NATS, error) {
	dir, err := newFolder(cfg.Dir, "nats", nil)
	if err != nil {
		return nil, err
	}
	guard, err := startGuardian(dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &NATS{cfg: cfg, dir: dir, guard: guard}, nil
}

// startAnywhere starts the server on a free port; see process.startAnywhere.
func (n *NATS) startAnywhere() error {
	for try := 1; ; try++ {
		port, err := FreePort()
		if err != nil {
			return err
		}
		n.port = port
		err = n.run()
		if err == nil || try == portTries || portFree(port) == nil {
			return err
		}
	}
}

// run starts a server with the port and the store of n.
func (n *NATS) run() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errClosed
	}
	if n.running != nil {
		return errors.New("already running")
	}
	opts, err := n.options()
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	var log natsLog
	s.SetLoggerV2(&log, false, false, false)
	s.Start()
	if log.fatal() == nil && s.ReadyForConnections(startTimeout) {
		n.running = s
		return nil
	}
	s.Shutdown()
	s.WaitForShutdown()
	if err := log.fatal(); err != nil {
		return err
	}
	return fmt.Errorf("the server accepts no connections %s after its start", startTimeout)
}

// options returns the options of the next server.
func (n *NATS) options() (*server.Options, error) {
	opts := &server.Options{}
	if n.cfg.ConfigFile != "" {
		var err error
		if opts, err = server.ProcessConfigFile(n.cfg.ConfigFile); err != nil {
			return nil, err // contains the file and the line
		}
	}
	opts.Host, opts.Port, opts.StoreDir = "127.0.0.1", n.port, n.dir
	opts.JetStream, opts.NoSigs = true, true
	opts.SyncAlways = opts.SyncAlways || n.cfg.SyncAlways
	if n.cfg.MaxPayload != 0 {
		opts.MaxPayload = n.cfg.MaxPayload
	}
	if n.join != nil {
		n.join(opts)
	}
	return opts, nil
}

// server returns the running server, or nil if n is stopped.
func (n *NATS) server() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// URL returns nats://127.0.0.1:port, or the configured URL of an external server.
func (n *NATS) URL() string { return n.url }

// StoreDir returns the folder that contains the server's jetstream folder, or "" for an external server.
func (n *NATS) StoreDir() string { return n.dir }

// Stop shuts the server down and returns when that is complete. Clients are disconnected without notice; streams are
// written to disk and remain there. A crash cannot be reproduced, because the server runs in this process. Stopping a
// stopped server is not an error.
func (n *NATS) Stop() error {
	if n.dir == "" {
		return fmt.Errorf("stop nats: %w", ErrExternal)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopLocked()
	return nil
}

func (n *NATS) stopLocked() {
	if n.running != nil {
		n.running.Shutdown()
		n.running.WaitForShutdown()
		n.running = nil
	}
}

// Start starts the server again after Stop, with the same port and store.
func (n *NATS) Start() error {
	err := ErrExternal
	if n.dir != "" {
		err = n.run()
	}
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	return nil
}

// Close stops the server and removes its folder. It is idempotent, and does nothing to an external server.
func (n *NATS) Close() error {
	if n.dir == "" {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	n.stopLocked()
	if err := errors.Join(os.RemoveAll(n.dir), n.guard.release()); err != nil {
		return fmt.Errorf("close nats: %w", err)
	}
	return nil
}
