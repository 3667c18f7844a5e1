package invalidate

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// plain removes the members of a SET that have no value, and still have none after Grace.
func (w *sweeper) plain(ctx context.Context, tag string) error {
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
		w.tell()
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
			return nil, fmt.Errorf("look for values: %w", err)
		}
		for i, reply := range replies {
			if reply.(*redis.IntCmd).Val() == 0 {
				missing = append(missing, part[i])
			}
		}
	}
	return missing, nil
}

// removeGone waits, looks again and removes.
func (w *sweeper) removeGone(ctx context.Context, tag string, gone []string) error {
	if len(gone) == 0 {
		return nil
	}
	if err := wait(ctx, w.Grace); err != nil {
		return err
	}
	gone, err := w.missing(ctx, gone)
	if err != nil {
		return err
	}
	w.swept.Removed += int64(len(gone))
	for len(gone) > 0 && !w.DryRun {
		part := gone[:min(len(gone), page)]
		gone = gone[len(part):]
		if err := w.remove(ctx, tag, part); err != nil {
			return err
		}
	}
	return nil
}

// remove takes members out, and puts those back whose values are there now. It does that even when ctx ends in between.
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
	var back []any
	for i, reply := range replies {
		// One that cannot be looked at any more may be there.
		if n, ok := reply.(*redis.IntCmd); !ok || n.Err() != nil || n.Val() > 0 {
			back = append(back, members[i])
		}
	}
	if len(back) > 0 {
		if e := w.Redis.SAdd(ctx, tag, back...).Err(); e != nil {
			return fmt.Errorf("put %d members back: %w", len(back), e)
		}
		w.swept.Removed -= int64(len(back))
		w.swept.Restored += int64(len(back))
	}
	if err != nil {
		return fmt.Errorf("look for values: %w", err)
	}
	return nil
}
