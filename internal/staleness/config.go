package staleness

import (
	"io"
	"math"
	"math/rand/v2"
	"time"
)

// Config says how large a run is. There are no defaults but those of Full.
type Config struct {
	Program    string        `json:"-"` // path of the program outbox; see Build
	Duration   time.Duration // of the load of an arm; controls take half of it
	Rows       int
	Updates    int // rows a second
	Writers    int
	Reads      int // a second
	Readers    int
	Stall      Stall
	FillWithin time.Duration // readers that took longer for a SELECT do not fill any more
	Slack      time.Duration // added to each bound: what the way takes, and a machine that is busy
	FaultEvery time.Duration
	Seed       uint64
	Log        io.Writer `json:"-"`
}

// Full is the size of make staleness.
func Full() Config {
	return Config{
		Duration: time.Minute, Rows: 5000, Updates: 2000, Writers: 8, Reads: 5000, Readers: 256,
		Stall:      Stall{Median: time.Millisecond, Share: 0.01, Least: 200 * time.Millisecond, Most: 3 * time.Second},
		FillWithin: 3500 * time.Millisecond, Slack: 3 * time.Second, FaultEvery: 10 * time.Second,
	}
}

// A Stall is how long a fill waits between reading the database and writing the cache: log-normal, and a share of them
// evenly between two times.
type Stall struct {
	Median      time.Duration
	Share       float64
	Least, Most time.Duration
}

// spread is the sigma of the log-normal part.
const spread = 0.7

func (s Stall) draw() time.Duration {
	if rand.Float64() < s.Share { // #nosec G404 -- nothing to guess
		return s.Least + rand.N(s.Most-s.Least) // #nosec G404 -- nothing to guess
	}
	return time.Duration(float64(s.Median) * math.Exp(spread*rand.NormFloat64())) // #nosec G404 -- nothing to guess
}
