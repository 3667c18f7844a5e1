package report

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/redis/go-redis/v9"
)

// Processor returns the model of the processor; where /proc does not have it, the architecture.
func Processor() string {
	if model := ProcField("/proc/cpuinfo", "model name"); model != "" {
		return model
	}
	return runtime.GOARCH
}

// LoadAverage returns the load average of the last minute; empty where /proc does not have it.
func LoadAverage() string {
	text, _ := os.ReadFile("/proc/loadavg") // does not exist on every system
	first, _, _ := strings.Cut(string(text), " ")
	return first
}

// ProcField returns the first value of a name in a file of lines "name: value"; empty if there is none.
func ProcField(path, name string) string {
	text, _ := os.ReadFile(path) // #nosec G304 -- a file of /proc, which does not exist on every system
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Versions are those of the servers.
type Versions struct {
	Postgres string `json:"postgres"`
	NATS     string `json:"nats"`
	Redis    string `json:"redis,omitzero"`
}

// A Querier is a connection to PostgreSQL, a pool or a transaction.
type Querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// ReadVersions asks the servers for their versions. rdb may be nil.
func ReadVersions(ctx context.Context, postgres Querier, nc *nats.Conn, rdb redis.UniversalClient) (Versions, error) {
	v := Versions{NATS: nc.ConnectedServerVersion()}
	if err := postgres.QueryRow(ctx, "SELECT split_part(current_setting('server_version'), ' ', 1)").Scan(&v.Postgres); err != nil {
		return v, fmt.Errorf("read the version of PostgreSQL: %w", err)
	}
	if rdb == nil {
		return v, nil
	}
	info, err := rdb.Info(ctx, "server").Result()
	if err != nil {
		return v, fmt.Errorf("read the version of Redis: %w", err)
	}
	v.Redis = strings.TrimSpace(infoField(info, "redis_version"))
	return v, nil
}

// infoField returns the value of a field in the reply to INFO.
func infoField(info, name string) string {
	_, rest, _ := strings.Cut(info, name+":")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}
