package fill

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/wait"
)

var (
	//go:embed miss.lua
	missText string
	//go:embed fill.lua
	fillText string
	//go:embed release.lua
	releaseText string

	missScript    = redis.NewScript(missText)
	fillScript    = redis.NewScript(fillText)
	releaseScript = redis.NewScript(releaseText)
)

// A caller that waits for another process asks again after 10 ms, and later every 40 ms, each time plus or minus half.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 40 * time.Millisecond
)

// claim takes the token, or waits for the value of the process that has it. It returns neither if the caller must load
// the value without filling the cache.
func (c *Cache[V]) claim(ctx context.Context, r request) (hit *outcome[V], token string) {
	nonce := rand.Text()
	limit := time.Now().Add(c.cfg.WaitMax)
	waited := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		asked := time.Now()
		answer, text, err := c.miss(ctx, r, nonce)
		if err != nil {
			c.report(ctx, fmt.Errorf("take token of %q: %w", r.key, err))
			return nil, ""
		}
		switch answer {
		case "fill":
			return nil, text
		case "hit":
			value, valid, err := c.decode(ctx, r, []byte(text))
			if valid {
				return &outcome[V]{value: value, since: asked}, ""
			}
			if err != nil {
				return nil, ""
			}
			continue // decode has deleted the text
		}
		if !waited {
			waited = true
			c.stats.waits.Add(1)
		}
		left := time.Until(limit)
		if left <= 0 || wait.For(ctx, min(left, pause/2+mathrand.N(pause))) != nil {
			return nil, ""
		}
	}
}

// miss runs miss.lua and returns the two words of its reply.
func (c *Cache[V]) miss(ctx context.Context, r request, nonce string) (answer, text string, err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	words, err := missScript.Run(ctx, c.rdb, []string{r.key, r.token}, nonce, c.cfg.Lease.Milliseconds(), r.header).StringSlice()
	if err == nil && len(words) != 2 {
		err = fmt.Errorf("want 2 words in the reply, got %d", len(words))
	}
	if err != nil {
		return "", "", err
	}
	return words[0], words[1], nil
}

// fill writes the value and reports whether Redis accepted it. It does so even if no caller waits any more.
func (c *Cache[V]) fill(ctx context.Context, r request, token string, text []byte) bool {
	bound, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	ttl := max(r.ttl-time.Duration(mathrand.Float64()*c.cfg.Jitter*float64(r.ttl)), time.Millisecond)
	value := append([]byte(r.header), text...)
	accepted, err := fillScript.Run(bound, c.rdb, []string{r.key, r.token}, token, value, ttl.Milliseconds()).Bool()
	switch {
	case err != nil:
		c.report(ctx, fmt.Errorf("fill %q: %w", r.key, err))
	case accepted:
		c.stats.fills.Add(1)
	default:
		c.stats.refused.Add(1)
	}
	return err == nil && accepted
}

// release returns the token of a load that did not fill, even if no caller waits any more.
func (c *Cache[V]) release(ctx context.Context, r request, token string) {
	bound, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	if err := releaseScript.Run(bound, c.rdb, []string{r.token}, token).Err(); err != nil {
		c.report(ctx, fmt.Errorf("release token of %q: %w", r.key, err))
	}
}
