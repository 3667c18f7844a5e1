package bench

import (
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

// Dial opens a connection to NATS.
type Dial func(name string, options ...nats.Option) (*nats.Conn, error)

// Servers are the servers that are measured. The caller closes Redis; a scenario opens and closes every other connection.
type Servers struct {
	Postgres   *pgxpool.Config
	NATS       Dial
	Cluster    func() (Dial, error)  // connects to the NATS that stores streams with replicas. Defaults to NATS
	Redis      redis.UniversalClient // used only by scenarios that need Redis
	Env        []string              // settings with which the program outbox reaches these servers
	Notes      []string              // printed beside the results: what a reader must know about these servers
	NATSPID    int                   // of the process of NATS. Defaults to the process that listens on its port, if it is on this machine
	ClusterPID int                   // of the process of Cluster, set when Cluster has returned. Defaults to unknown
}
