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

// NATSConfig says which NATS to start. The zero value will do.
type NATSConfig struct {
	// URL of a running server (nats://…) to use instead of starting one. The other
	// fields but Log are then ignored.
	URL string
	// Dir is the parent of the server's own folder. Defaults to the temporary folder.
	Dir string
	// Log receives one line that says what was started and where. The server's own
	// log goes nowhere. Defaults to nowhere.
	Log io.Writer
	// SyncAlways makes the server sync each message to disk before it acks, as
	// sync_interval: always does. Defaults to false.
	SyncAlways bool
	// MaxPayload is the largest message in bytes. Defaults to the server's 1 MiB.
	MaxPayload int32
	// ConfigFile is a configuration file of nats-server, for what has no field here:
	// accounts, users and their permissions, TLS, limits. It is read at each Start.
	// Address, port and store are ours whatever it says, JetStream is on, and the
	// server's log goes nowhere; SyncAlways and MaxPayload win if they are set. URL
	// names no user, and stays nats:// with TLS. Defaults to none.
	ConfigFile string
}

// NATS is a NATS server with JetStream and a file store, in this process. Its
// methods are safe for concurrent use.
type NATS struct {
	url   string
	cfg   NATSConfig
	dir   string // own folder, the store; "" if the server was given
	guard *guardian
	join  func(*server.Options) // nil if it runs alone; see NATSCluster

	mu      sync.Mutex
	port    int            // fixed by the first start that works
	running *server.Server // nil when stopped
	closed  bool
}

// StartNATS starts a server and returns when it accepts connections, or checks
// that the one given by URL does. The caller must Close it.
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
	say(cfg.Log, "nats: using the given server %s", conn.ConnectedUrlRedacted())
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
	say(cfg.Log, "nats: using nats-server %s in this process, %s, store %s", server.VERSION, address(n.port), n.dir)
	return n, nil
}

// newNATS makes the folder of a server, and its guardian.
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
		port, err := freePort()
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

// run starts a server on the port and store of n.
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
	return fmt.Errorf("not ready after %s", startTimeout)
}

// options reads what the next server shall be.
func (n *NATS) options() (*server.Options, error) {
	opts := &server.Options{}
	if n.cfg.ConfigFile != "" {
		var err error
		if opts, err = server.ProcessConfigFile(n.cfg.ConfigFile); err != nil {
			return nil, err // names the file and the line
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

// server returns the server that runs now, or nil.
func (n *NATS) server() *server.Server {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.running
}

// URL returns nats://127.0.0.1:port, or the URL given.
func (n *NATS) URL() string { return n.url }

// StoreDir returns the folder that holds the server's jetstream folder, or "" if
// the server was given.
func (n *NATS) StoreDir() string { return n.dir }

// Stop shuts the server down and returns when it is gone: clients are cut off
// without notice, streams are written to disk and stay there. A server in this
// process cannot crash. It is no error if it is already stopped.
func (n *NATS) Stop() error {
	if n.dir == "" {
		return fmt.Errorf("stop nats: %w", ErrNotOurs)
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

// Start starts the server again after Stop, on the same port and store.
func (n *NATS) Start() error {
	err := ErrNotOurs
	if n.dir != "" {
		err = n.run()
	}
	if err != nil {
		return fmt.Errorf("start nats: %w", err)
	}
	return nil
}

// Close stops the server and removes its folder. It is idempotent, and leaves
// alone a server that was given.
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
