package invalidate

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// checkPipelineKeys is how many keys one pipeline of a staleness check reads. It is small because values may be large.
const checkPipelineKeys = 100

// A keyState is what Redis returned for a key.
type keyState struct {
	asked, answered time.Time     // before the pipeline was sent, and after its replies arrived
	ttl             time.Duration // remaining time to live; -1: the key never expires; -2: there is no such key
	ttlErr          error
	value           []byte // only if the rule has a version
	valueErr        error
}

// readKeys reads the state of keys in one pipeline. It returns an error only for an outage; an error reply about a
// single key becomes part of its state.
func readKeys(ctx context.Context, rdb redis.UniversalClient, keys []keyCheck) error {
	pipe := rdb.Pipeline()
	for i := range keys {
		pipe.PTTL(ctx, keys[i].Key)
		if keys[i].Due != "" {
			queueVersionRead(ctx, pipe, &keys[i].Deletion)
		}
	}
	want := pipe.Len()
	asked := time.Now()
	replies, err := pipe.Exec(ctx)
	answered := time.Now()
	if len(replies) != want {
		return fmt.Errorf("read keys: received %d replies to %d commands: %w", len(replies), want, err)
	}
	for _, reply := range replies {
		if err := reply.Err(); err != nil && !aboutKey(err) {
			return fmt.Errorf("read keys: %w", err)
		}
	}
	for i := range keys {
		state := keyState{asked: asked, answered: answered}
		state.ttl, state.ttlErr = replies[0].(*redis.DurationCmd).Result()
		replies = replies[1:]
		if keys[i].Due != "" {
			state.value, state.valueErr = replies[0].(*redis.StringCmd).Bytes()
			replies = replies[1:]
		}
		keys[i].state = state
	}
	return nil
}
