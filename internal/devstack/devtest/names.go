package devtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
)

var (
	// run distinguishes this test binary from others that use the same external server.
	run = fmt.Sprintf("%05x", rand.N(1<<20))
	// names counts the names that unique has returned.
	names atomic.Int64
)

// unique returns a name such as t_plan_3fa2c_17, at most 45 bytes long, of the characters a–z, 0–9 and _. It never
// returns the same name twice.
func unique(t testing.TB) string {
	const most = 24 // bytes of the test's name
	name := strings.ToLower(strings.TrimPrefix(t.Name(), "Test"))
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
	name = strings.Trim(name[:min(len(name), most)], "_")
	return fmt.Sprintf("t_%s_%s_%d", name, run, names.Add(1))
}
