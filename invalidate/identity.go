package invalidate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// identityTimeout bounds one look at who Redis is.
const identityTimeout = 2 * time.Second

// errNoIdentity says that a server is no master, or does not say who it is.
var errNoIdentity = errors.New("INFO shows no run_id of a master")

// identity tells the master of Redis, or all of them, from every other process and every other history of data.
func identity(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	var mu sync.Mutex
	var ids []string
	ask := func(ctx context.Context, client *redis.Client) error {
		id, err := identityOf(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return err
	}
	err := eachMaster(ctx, rdb, ask)
	if err != nil {
		return "", fmt.Errorf("ask redis who it is: %w", err)
	}
	slices.Sort(ids)
	return strings.Join(ids, " "), nil
}

func identityOf(ctx context.Context, client *redis.Client) (string, error) {
	pipe := client.Pipeline()
	server, replication := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication")
	if _, err := pipe.Exec(ctx); err != nil {
		return "", err
	}
	run, history := infoField(server.Val(), "run_id"), infoField(replication.Val(), "master_replid")
	if run == "" || infoField(replication.Val(), "role") != "master" {
		return "", errNoIdentity
	}
	return run + "/" + history, nil
}

// infoField returns the value of a field of INFO.
func infoField(info, name string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}
