package devstack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// clusterNodes is the number of nodes of a cluster. Two of them are a majority.
const clusterNodes = 3

// NATSClusterConfig configures a cluster. The zero value is usable. The fields apply to each node and mean the same as
// those of [NATSConfig].
type NATSClusterConfig struct {
	Dir        string    // parent of the nodes' folders; defaults to the temporary folder
	Log        io.Writer // receives one line; defaults to no log
	SyncAlways bool      // sync each message to disk before it is acknowledged; defaults to false
	MaxPayload int32     // bytes; defaults to the server's 1 MiB
}

// NATSCluster is three NATS servers in this process, each with JetStream and a file store, connected by routes. Streams
// may have one or three replicas. Its methods are safe for concurrent use.
//
// The servers elect leaders with their own timeouts. The meta group and each stream have a new leader within one second
// after the old leader stepped down, and 4 to 9 seconds after the old leader became unreachable.
type NATSCluster struct {
	nodes [clusterNodes]*NATS
	links [clusterNodes][clusterNodes]*link // [from][to]; nil if from equals to

	mu       sync.Mutex
	isolated [clusterNodes]bool
}

// StartNATSCluster starts a cluster and returns when the cluster has a meta leader and was able to create a stream with
// three replicas (which StartNATSCluster deletes again). That takes about two seconds, and 60 s at most. The caller
// must Close the cluster.
func StartNATSCluster(cfg NATSClusterConfig) (*NATSCluster, error) {
	c := &NATSCluster{}
	err := c.start(cfg)
	if err != nil {
		return nil, fmt.Errorf("start nats cluster: %w", errors.Join(err, c.Close()))
	}
	logf(cfg.Log, "nats: using %d nodes of nats-server %s in this process, %s", clusterNodes, server.VERSION, c.URL())
	return c, nil
}

func (c *NATSCluster) start(cfg NATSClusterConfig) error {
	for i := range c.nodes {
		node, err := newNATS(NATSConfig{Dir: cfg.Dir, SyncAlways: cfg.SyncAlways, MaxPayload: cfg.MaxPayload})
		if err != nil {
			return err
		}
		c.nodes[i] = node
	}
	if err := c.startAnywhere(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	for i := range c.nodes {
		if err := c.awaitCurrent(ctx, i); err != nil {
			return err
		}
	}
	return c.probe(ctx)
}

// startAnywhere starts the nodes on free ports; see process.startAnywhere.
func (c *NATSCluster) startAnywhere() error {
	for try := 1; ; try++ {
		ports, err := freePorts(2 * clusterNodes)
		if err != nil {
			return err
		}
		err = c.assign(ports[:clusterNodes], ports[clusterNodes:])
		if err == nil {
			err = c.run()
		}
		if err == nil || try == portTries || !anyTaken(ports) {
			return err
		}
		if err := c.closeLinks(); err != nil {
			return err
		}
	}
}

// assign gives each node its ports for clients and for routes, and its links to the other nodes.
func (c *NATSCluster) assign(clients, routes []int) error {
	for i, node := range c.nodes {
		var peers []*url.URL
		for j := range c.nodes {
			if i == j {
				continue
			}
			l, err := openLink(address(routes[j]))
			if err != nil {
				return err
			}
			c.links[i][j] = l
			peers = append(peers, &url.URL{Scheme: "nats-route", Host: l.listener.Addr().String()})
		}
		node.port, node.url = clients[i], "nats://"+address(clients[i])
		node.join = func(opts *server.Options) {
			opts.ServerName = "node-" + strconv.Itoa(i)
			// Nodes advertise their addresses to each other. The advertised address accepts no connections, so that
			// all traffic between nodes uses the links.
			opts.Cluster = server.ClusterOpts{Name: "devstack", Host: "127.0.0.1", Port: routes[i], Advertise: "127.0.0.1:1"}
			opts.Routes = peers
		}
	}
	return nil
}

// run starts all nodes. After an error no node is running.
func (c *NATSCluster) run() error {
	for _, node := range c.nodes {
		if err := node.run(); err != nil {
			for _, node := range c.nodes {
				err = errors.Join(err, node.Stop())
			}
			return err
		}
	}
	return nil
}

// awaitCurrent waits until node i has a route, the cluster has exactly one meta leader, and node i is up to date with
// it.
func (c *NATSCluster) awaitCurrent(ctx context.Context, i int) error {
	return await(ctx, "meta leader for node "+strconv.Itoa(i), func(context.Context) error {
		leaders := 0
		for _, node := range c.nodes {
			if s := node.server(); s != nil && s.JetStreamIsLeader() {
				leaders++
			}
		}
		if s := c.nodes[i].server(); s == nil || leaders != 1 || s.NumRoutes() == 0 || !s.JetStreamIsCurrent() {
			return errNotYet
		}
		return nil
	})
}

// probe creates a stream with three replicas and deletes it. The meta leader cannot place such a stream until it knows
// the storage of every node.
func (c *NATSCluster) probe(ctx context.Context) error {
	conn, err := nats.Connect(c.URL())
	if err != nil {
		return err
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	const name = "DEVSTACK-PROBE"
	err = await(ctx, "stream of three replicas", func(ctx context.Context) error {
		_, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: name, Replicas: clusterNodes})
		return err
	})
	if err != nil {
		return err
	}
	return js.DeleteStream(ctx, name)
}

// URL returns the URLs of all nodes, including stopped ones, joined by commas.
func (c *NATSCluster) URL() string {
	var urls []string
	for _, node := range c.nodes {
		urls = append(urls, node.url)
	}
	return strings.Join(urls, ",")
}

// Node returns node i, 0 to 2, with its own URL and StoreDir. Use the Stop and Start methods of the cluster, not those
// of the node: the cluster's Start also waits for a leader. Node panics if i is out of range.
func (c *NATSCluster) Node(i int) *NATS { return c.nodes[i] }

// Stop shuts node i down and returns when that is complete. Clients are disconnected without notice, but the shutdown
// is clean: the node transfers leadership to other nodes that are up to date, and writes its streams to disk. To
// reproduce a crash, use [NATSCluster.Isolate]. Stopping a stopped node is not an error.
func (c *NATSCluster) Stop(i int) error {
	if err := c.nodes[i].Stop(); err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	return nil
}

// Start starts node i again after Stop, with the same ports and store. If a majority is then running, Start returns
// when the node follows a meta leader (60 s at most), otherwise when the node accepts connections. The node's streams
// may still be catching up.
func (c *NATSCluster) Start(i int) error {
	if err := c.nodes[i].Start(); err != nil {
		return fmt.Errorf("node %d: %w", i, err)
	}
	running := 0
	for _, node := range c.nodes {
		if node.server() != nil {
			running++
		}
	}
	if running <= clusterNodes/2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := c.awaitCurrent(ctx, i); err != nil {
		return fmt.Errorf("start nats node %d: %w", i, err)
	}
	return nil
}

// Close stops all nodes and removes their folders. It is idempotent.
func (c *NATSCluster) Close() error {
	var errs []error
	for _, node := range c.nodes {
		if node != nil {
			errs = append(errs, node.Close())
		}
	}
	return errors.Join(append(errs, c.closeLinks())...)
}

func (c *NATSCluster) closeLinks() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for from := range c.links {
		for to, l := range c.links[from] {
			if l != nil {
				errs = append(errs, l.close())
				c.links[from][to] = nil
			}
		}
	}
	return errors.Join(errs...)
}
