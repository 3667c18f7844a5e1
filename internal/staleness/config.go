package staleness

import (
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Config is the size of a run. All fields are required; [Full] returns the defaults.
type Config struct {
	Program    string        `json:"-"` // path of the program outbox
	Duration   time.Duration // of the load of an arm; controls take half of it
	Rows       int
	Updates    int // rows a second
	Writers    int
	Reads      int // a second
	Readers    int
	Stall      Stall
	FillWithin time.Duration // a reader whose SELECT and stall took longer does not fill the cache
	Slack      time.Duration // added to each bound: time for delivery, and for a busy machine
	FaultEvery time.Duration
	Seed       uint64
	Log        io.Writer `json:"-"`
}

// Full returns the size that make staleness uses.
func Full() Config {
	return Config{
		Duration: time.Minute, Rows: 5000, Updates: 2000, Writers: 8, Reads: 5000, Readers: 256,
		Stall:      Stall{Median: time.Millisecond, Share: 0.01, Least: 200 * time.Millisecond, Most: 3 * time.Second},
		FillWithin: 3500 * time.Millisecond, Slack: 3 * time.Second, FaultEvery: 10 * time.Second,
	}
}

// A Stall is the distribution of the time between a fill's SELECT and its SETEX: log-normal, except for a share that is
// uniform between Least and Most.
type Stall struct {
	Median      time.Duration
	Share       float64
	Least, Most time.Duration
}

// sigma is that of the log-normal part.
const sigma = 0.7

func (s Stall) draw() time.Duration {
	if rand.Float64() < s.Share { // #nosec G404 -- not a secret
		return s.Least + rand.N(s.Most-s.Least) // #nosec G404 -- not a secret
	}
	return time.Duration(float64(s.Median) * math.Exp(sigma*rand.NormFloat64())) // #nosec G404 -- not a secret
}
