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

// identityTimeout limits one reading of the identity of Redis.
const identityTimeout = 2 * time.Second

// errNoIdentity means that a server is not a master or does not report its run_id.
var errNoIdentity = errors.New("INFO reports no run_id of a master")

// identity returns a text that changes when a master of Redis is replaced by another process (run_id) or when its data
// comes from elsewhere (master_replid). For a cluster it covers all masters.
func identity(ctx context.Context, rdb redis.UniversalClient) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	var mu sync.Mutex
	var ids []string
	read := func(ctx context.Context, client *redis.Client) error {
		id, err := identityOf(ctx, client)
		mu.Lock()
		defer mu.Unlock()
		ids = append(ids, id)
		return err
	}
	err := eachMaster(ctx, rdb, read)
	if err != nil {
		return "", fmt.Errorf("read identity of Redis: %w", err)
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
	run, data := infoField(server.Val(), "run_id"), infoField(replication.Val(), "master_replid")
	if run == "" || infoField(replication.Val(), "role") != "master" {
		return "", errNoIdentity
	}
	return run + "/" + data, nil
}

// infoField returns the value of a field in the reply to INFO, or "" if it has none.
func infoField(info, name string) string {
	for line := range strings.SplitSeq(info, "\r\n") {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return value
		}
	}
	return ""
}

// eachMaster calls do for every master: of a cluster for several at a time.
func eachMaster(ctx context.Context, rdb redis.UniversalClient, do func(context.Context, *redis.Client) error) error {
	switch client := rdb.(type) {
	case *redis.ClusterClient:
		return client.ForEachMaster(ctx, do)
	case *redis.Ring:
		return client.ForEachShard(ctx, do)
	case *redis.Client:
		return do(ctx, client)
	}
	return fmt.Errorf("unsupported Redis client %T; want *redis.Client, *redis.ClusterClient or *redis.Ring", rdb)
}
