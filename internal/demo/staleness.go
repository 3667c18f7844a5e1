package demo

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// checkCache compares every cached balance with its row. It counts the keys, and the stale ones: those whose value differs
// from the row or whose row does not exist.
func (e *environment) checkCache(ctx context.Context) (cached, stale int64, err error) {
	seen := make(map[int]struct{}) // a scan may return a key twice
	err = e.eachKey(ctx, func(keys []string) error {
		balances, err := e.cachedBalances(ctx, keys)
		if err != nil {
			return err
		}
		for aid := range balances {
			if _, again := seen[aid]; again {
				delete(balances, aid)
			}
			seen[aid] = struct{}{}
		}
		cached += int64(len(balances))
		differ, err := e.differ(ctx, balances)
		stale += differ
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("compare the cache with its rows: %w", err)
	}
	return cached, stale, nil
}

// cachedBalances reads the values of some keys, by account.
func (e *environment) cachedBalances(ctx context.Context, keys []string) (map[int]string, error) {
	values, err := e.rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, fmt.Errorf("read redis: %w", err)
	}
	out := make(map[int]string, len(keys))
	for i, key := range keys {
		text := strings.TrimSuffix(strings.TrimPrefix(key, e.prefix+"account:"), ":balance")
		aid, err := strconv.Atoi(text)
		value, ok := values[i].(string)
		if err != nil || !ok { // not a key of the readers, or expired since the scan
			continue
		}
		out[aid] = value
	}
	return out, nil
}

// differ counts the accounts whose balance in the table is different, or that the table does not contain.
func (e *environment) differ(ctx context.Context, balances map[int]string) (int64, error) {
	aids := make([]int, 0, len(balances))
	for aid := range balances {
		aids = append(aids, aid)
	}
	rows, err := e.pool.Query(ctx, "SELECT aid, abalance FROM "+e.accounts()+" WHERE aid = ANY($1)", aids)
	if err != nil {
		return 0, fmt.Errorf("read accounts: %w", err)
	}
	same := 0
	var aid, balance int
	_, err = pgx.ForEachRow(rows, []any{&aid, &balance}, func() error {
		if balances[aid] == strconv.Itoa(balance) {
			same++
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("read accounts: %w", err)
	}
	return int64(len(balances) - same), nil
}
