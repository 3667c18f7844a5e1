package fill

import (
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/redis/go-redis/v9"
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

// A caller that waits asks again after 10 ms, later every 40 ms, each time give or take a half.
const (
	firstPause = 10 * time.Millisecond
	lastPause  = 40 * time.Millisecond
)

// claim takes the token, or waits for the value. It returns neither if it must be loaded without filling.
func (c *Cache[V]) claim(ctx context.Context, r request) (hit *outcome[V], token string) {
	nonce := rand.Text()
	limit := time.Now().Add(c.cfg.WaitMax)
	waited := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		asked := time.Now()
		answer, text, err := c.miss(ctx, r, nonce)
		if err != nil {
			c.report(ctx, fmt.Errorf("ask for token of %q: %w", r.key, err))
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
			continue // it is gone now
		}
		if !waited {
			waited = true
			c.stats.waits.Add(1)
		}
		left := time.Until(limit)
		if left <= 0 || !rest(ctx, min(left, pause/2+mathrand.N(pause))) {
			return nil, ""
		}
	}
}

// miss runs the script and returns its two words.
func (c *Cache[V]) miss(ctx context.Context, r request, nonce string) (answer, text string, err error) {
	ctx, cancel := c.bound(ctx)
	defer cancel()
	words, err := missScript.Run(ctx, c.rdb, []string{r.key, r.token}, nonce, c.cfg.Lease.Milliseconds(), r.header).StringSlice()
	if err == nil && len(words) != 2 {
		err = fmt.Errorf("%d words in reply", len(words))
	}
	if err != nil {
		return "", "", err
	}
	return words[0], words[1], nil
}

// fill writes the value and says whether Redis took it. It does so even if no caller waits any more.
func (c *Cache[V]) fill(ctx context.Context, r request, token string, text []byte) bool {
	bound, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	ttl := max(r.ttl-time.Duration(mathrand.Float64()*c.cfg.Jitter*float64(r.ttl)), time.Millisecond)
	value := append([]byte(r.header), text...)
	taken, err := fillScript.Run(bound, c.rdb, []string{r.key, r.token}, token, value, ttl.Milliseconds()).Bool()
	switch {
	case err != nil:
		c.report(ctx, fmt.Errorf("fill %q: %w", r.key, err))
	case taken:
		c.stats.fills.Add(1)
	default:
		c.stats.refused.Add(1)
	}
	return err == nil && taken
}

// release gives the token of a load that did not fill back, even if no caller waits any more.
func (c *Cache[V]) release(ctx context.Context, r request, token string) {
	bound, cancel := c.bound(context.WithoutCancel(ctx))
	defer cancel()
	if err := releaseScript.Run(bound, c.rdb, []string{r.token}, token).Err(); err != nil {
		c.report(ctx, fmt.Errorf("release token of %q: %w", r.key, err))
	}
}

// rest waits and says whether it came to the end of d.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
