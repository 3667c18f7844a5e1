package invalidate

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

// sweepSet removes the members of a SET that have no value, and still have none after Grace.
func (w *sweeper) sweepSet(ctx context.Context, tag string) error {
	var gone []string
	for cursor := uint64(0); ; {
		members, next, err := readMembers(ctx, w.Redis, "set", tag, cursor)
		if err != nil {
			return fmt.Errorf("read members: %w", err)
		}
		cursor = next
		w.swept.Members += int64(len(members))
		missing, err := w.missing(ctx, members)
		if err != nil {
			return err
		}
		gone = append(gone, missing...)
		if len(gone) >= graceMembers || cursor == 0 {
			if err := w.removeGone(ctx, tag, gone); err != nil {
				return err
			}
			gone = gone[:0]
		}
		w.report()
		if cursor == 0 {
			return nil
		}
	}
}

// missing returns the keys that have no value.
func (w *sweeper) missing(ctx context.Context, keys []string) (missing []string, err error) {
	for len(keys) > 0 {
		part := keys[:min(len(keys), w.pacer.Burst())]
		keys = keys[len(part):]
		if err := w.pacer.WaitN(ctx, len(part)); err != nil {
			return nil, err
		}
		pipe := w.Redis.Pipeline()
		for _, key := range part {
			pipe.Exists(ctx, key)
		}
		replies, err := execAll(ctx, pipe)
		if err != nil {
			return nil, fmt.Errorf("check values: %w", err)
		}
		for i, reply := range replies {
			if reply.(*redis.IntCmd).Val() == 0 {
				missing = append(missing, part[i])
			}
		}
	}
	return missing, nil
}

// removeGone waits for Grace, checks the members again, and removes those that still have no value.
func (w *sweeper) removeGone(ctx context.Context, tag string, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	if err := wait.For(ctx, w.Grace); err != nil {
		return err
	}
	gone, err := w.missing(ctx, gone)
	if err != nil {
		return err
	}
	w.swept.Removed += int64(len(gone))
	for len(gone) > 0 && !w.DryRun {
		part := gone[:min(len(gone), scanPage)]
		gone = gone[len(part):]
		if err := w.remove(ctx, tag, part); err != nil {
			return err
		}
	}
	return nil
}

// remove removes members, and adds those again that have a value afterwards. It does both even if ctx ends in between.
func (w *sweeper) remove(ctx context.Context, tag string, members []string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	list := make([]any, len(members))
	for i, member := range members {
		list[i] = member
	}
	if err := w.Redis.SRem(ctx, tag, list...).Err(); err != nil {
		return fmt.Errorf("remove members: %w", err)
	}
	pipe := w.Redis.Pipeline()
	for _, member := range members {
		pipe.Exists(ctx, member)
	}
	replies, err := execAll(ctx, pipe)
	var restored []any
	for i, reply := range replies {
		// A member whose check failed may have a value.
		if n, ok := reply.(*redis.IntCmd); !ok || n.Err() != nil || n.Val() > 0 {
			restored = append(restored, members[i])
		}
	}
	if len(restored) > 0 {
		if e := w.Redis.SAdd(ctx, tag, restored...).Err(); e != nil {
			return fmt.Errorf("restore %d members: %w", len(restored), e)
		}
		w.swept.Removed -= int64(len(restored))
		w.swept.Restored += int64(len(restored))
	}
	if err != nil {
		return fmt.Errorf("check values: %w", err)
	}
	return nil
}
