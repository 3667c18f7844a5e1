package fill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

//go:embed stamp.lua
var stampText string

var stampScript = redis.NewScript(stampText)

// HeaderSize is the number of bytes that precede the text of the codec in a value cached with stamps: "fill:", 32
// hexadecimal digits and a line feed. A value cached without stamps has no header.
const HeaderSize = 38

// read returns the cached text of a key if it is valid. It creates the stamps that are missing and sets the header of the
// request.
func (c *Cache[V]) read(ctx context.Context, r *request) (text []byte, found bool, err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	if len(r.stamps) == 0 {
		text, err = c.rdb.Get(ctx, r.key).Bytes()
		if errors.Is(err, redis.Nil) {
			return nil, false, nil
		}
		return text, err == nil, err
	}
	// One GET for each key, because a Redis Cluster rejects an MGET over several slots.
	pipe := c.rdb.Pipeline()
	value := pipe.Get(ctx, r.key)
	replies := make([]*redis.StringCmd, len(r.stamps))
	for i, name := range r.stamps {
		replies[i] = pipe.Get(ctx, name)
	}
	if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return nil, false, err
	}
	stamps := make([]string, len(replies))
	for i, reply := range replies {
		if stamps[i], err = reply.Result(); errors.Is(err, redis.Nil) {
			stamps[i], err = stampScript.Run(ctx, c.rdb, r.stamps[i:i+1], rand.Text()).Text()
		}
		if err != nil {
			return nil, false, fmt.Errorf("read stamp %q: %w", r.stamps[i], err)
		}
	}
	r.header = header(r.stamps, stamps)
	text, err = value.Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, false, nil
	}
	return text, err == nil && bytes.HasPrefix(text, []byte(r.header)), err
}

// header returns the prefix of a value that was filled under these stamps.
func header(names, stamps []string) string {
	var all strings.Builder
	for i, name := range names {
		fmt.Fprintf(&all, "%d:%s%d:%s", len(name), name, len(stamps[i]), stamps[i])
	}
	sum := sha256.Sum256([]byte(all.String()))
	return "fill:" + hex.EncodeToString(sum[:16]) + "\n"
}
