package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errNoMonitor says that nobody told where the server is monitored.
var errNoMonitor = errors.New("no --nats-monitor was given")

// syncInterval asks the monitoring port of a server how often it syncs to disk. Clients are not told.
func syncInterval(ctx context.Context, monitor string) (time.Duration, error) {
	if monitor == "" {
		return 0, errNoMonitor
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(monitor, "/")+"/jsz?config=true", http.NoBody)
	if err != nil {
		return 0, fmt.Errorf("ask %s: %w", monitor, err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end or not, it is done with
	var answer struct {
		Config *struct {
			SyncInterval time.Duration `json:"sync_interval"`
			SyncAlways   bool          `json:"sync_always"`
		} `json:"config"`
	}
	if err := json.NewDecoder(io.LimitReader(response.Body, 1<<20)).Decode(&answer); err != nil || answer.Config == nil {
		return 0, fmt.Errorf("ask %s: it does not answer as nats-server does (%s)", monitor, response.Status)
	}
	if answer.Config.SyncAlways {
		return 0, nil
	}
	return answer.Config.SyncInterval, nil
}

// judgeSync says what a loss of power costs.
func judgeSync(u *checkup, interval time.Duration, err error, replicas int) {
	const risk = "a loss of power can take acknowledged messages of that time; the relay publishes them again, consumers that have seen them see them twice"
	switch {
	case errors.Is(err, errNoMonitor):
		u.ok("sync_interval", "not known without --nats-monitor; the default is 2m: %s", risk)
	case err != nil:
		u.warn("sync_interval", "outbox doctor --nats-monitor http://<server>:8222", "%v", err)
	case interval > 0 && replicas == 1:
		u.warn("sync_interval", "sync_interval: always, in the section jetstream of the server's configuration, or more replicas", "%s and one replica: %s", interval, risk)
	case interval > 0:
		u.ok("sync_interval", "%s, %d replicas: they would have to lose power together", interval, replicas)
	default:
		u.ok("sync_interval", "always")
	}
}

// judgeReplicas compares the stream with the cluster it lives in.
func judgeReplicas(u *checkup, info *jetstream.StreamInfo, nc *nats.Conn) {
	replicas := info.Config.Replicas
	if nc.ConnectedClusterName() == "" || info.Cluster == nil {
		u.ok("replicas", "%d, on a single server", replicas)
		return
	}
	var behind []string
	for _, peer := range info.Cluster.Replicas {
		if peer.Offline || !peer.Current {
			behind = append(behind, fmt.Sprintf("%s (%d behind)", peer.Name, peer.Lag))
		}
	}
	servers := len(nc.Servers())
	switch {
	case replicas == 1 && servers > 1:
		u.warn("replicas", "nats stream edit "+info.Config.Name+" --replicas=3", "1 in a cluster of %d servers: the stream is away when its server is", servers)
	case len(behind) > 0:
		u.warn("replicas", "nats stream info "+info.Config.Name+"; nats server report jetstream", "%d, not current: %s", replicas, strings.Join(behind, ", "))
	default:
		u.ok("replicas", "%d, leader %s", replicas, info.Cluster.Leader)
	}
}
