package staleness

import (
	"fmt"
	"time"
)

// A method is how cached values are invalidated.
type method int

const (
	byTTL     method = iota // only by their time to live
	delAfter                // the application deletes them after its commit
	delBefore               // the application deletes them before its commit
	byEvents                // by the capture trigger, the relay and the invalidator
)

// crashShare is how many transactions of delAfter there are for each one whose process crashes between commit and delete.
const crashShare = 1000

// An Arm is one way of invalidating a cache, with the promise it makes.
type Arm struct {
	Name    string // D
	Title   string // events + echo 5 s
	Method  method
	TTL     time.Duration
	Echo    time.Duration // delay of the second delete; 0: there is none
	Bound   time.Duration // of staleness, without the slack; 0: the event deletes at once
	Holds   bool          // the arm must keep its promise; otherwise it must break it, unless Free
	Free    bool          // the arm passes either way
	Fill    bool          // readers use package fill
	Lag     time.Duration // of the replica that readers use; 0: they use the primary
	Gated   bool          // the echo waits for that replica
	Blind   bool          // the invalidator has no redelivery window: it ignores a fail-over of Redis
	Smooth  bool          // no fill stalls
	Faults  []faultKind   // injected in turn
	Control bool          // the arm only shows that the oracle works, and runs for half the time
}

const longTTL = time.Hour

var usualFaults = []faultKind{killRelay, killInvalidator, restartRedis, restartNATS, partition}

// Arms returns all arms of the experiment. stall is the longest time that a fill takes.
func Arms(stall time.Duration) []Arm {
	const echo = 5 * time.Second
	return []Arm{
		{Name: "A", Title: "TTL 10 s, nothing else", Method: byTTL, TTL: 10 * time.Second, Bound: 10*time.Second + stall, Free: true, Control: true},
		{Name: "A2", Title: "TTL 1 h, nothing else", Method: byTTL, TTL: longTTL, Control: true},
		{Name: "B", Title: "DEL after commit, 1 in 1000 crashes in between", Method: delAfter, TTL: longTTL, Control: true},
		{Name: "B0", Title: "DEL before commit", Method: delBefore, TTL: longTTL, Control: true},
		{Name: "C", Title: "events, one delete", Method: byEvents, TTL: longTTL, Blind: true, Faults: usualFaults},
		{Name: "D", Title: "events + echo 5 s", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Faults: usualFaults},
		{Name: "D0", Title: "as D, no stalls, no faults", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Smooth: true, Control: true},
		{Name: "E", Title: "events, readers use fill", Method: byEvents, TTL: longTTL, Fill: true, Holds: true, Faults: usualFaults},
		{Name: "E2", Title: "fill + echo 5 s", Method: byEvents, TTL: longTTL, Fill: true, Echo: echo, Holds: true, Faults: usualFaults},
		{Name: "F", Title: "echo 6 s, readers use a replica with 2 s of lag", Method: byEvents, TTL: longTTL, Echo: 6 * time.Second, Bound: 6 * time.Second, Lag: 2 * time.Second, Holds: true, Faults: usualFaults},
		{Name: "F1", Title: "echo 1 s, readers use a replica with 2 s of lag", Method: byEvents, TTL: longTTL, Echo: time.Second, Bound: time.Second, Lag: 2 * time.Second, Faults: usualFaults},
		{Name: "F2", Title: "echo 4 s after the replica, which has 2 s of lag", Method: byEvents, TTL: longTTL, Echo: 4 * time.Second, Bound: 6 * time.Second, Lag: 2 * time.Second, Gated: true, Holds: true, Faults: usualFaults},
		{Name: "G", Title: "as D, Redis fails over and loses deletes", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Faults: []faultKind{promote}},
		{Name: "G2", Title: "as E, Redis fails over and loses deletes", Method: byEvents, TTL: longTTL, Fill: true, Holds: true, Faults: []faultKind{promote}},
		{Name: "G0", Title: "as G2, no redelivery after the fail-over", Method: byEvents, TTL: longTTL, Fill: true, Blind: true, Faults: []faultKind{promote}},
	}
}

// flags returns those of the invalidator.
func (a Arm) flags() (flags []string) {
	if a.Gated {
		flags = append(flags, "--echo-replicas", "walreceiver") // the default application_name of a standby
	}
	if a.Blind {
		return append(flags, "--redelivery-window", "0s")
	}
	return append(flags, "--redelivery-window", redeliveryWindow)
}

// echo returns what the rule file contains.
func (a Arm) echo() string {
	if a.Echo == 0 {
		return "off"
	}
	return a.Echo.String()
}

// consumers returns how many consumers delete the keys of an event.
func (a Arm) consumers() int {
	switch {
	case a.Method != byEvents:
		return 0
	case a.Echo == 0:
		return 1
	}
	return 2
}

// rules returns the rule file.
func (a Arm) rules() []byte {
	return fmt.Appendf(nil, "rules:\n  - subject: %s.*.updated\n    keys: [\"acct:$1:profile\", \"acct:$1:card\"]\n    echo: %q\n", subject, a.echo())
}

// redeliveryWindow is shorter than the default: keys that the invalidator deletes again are no longer stuck, so redelivery
// must be over long before the end. A promoted replica has missed less than this.
const redeliveryWindow = "10s"

const (
	stream  = "ACCT"
	subject = "acct"
	durable = "invalidate-now"
)

// pages are the values cached for each row.
var pages = [...]string{"profile", "card"}

func cacheKey(row, page int) string { return fmt.Sprintf("acct:%d:%s", row, pages[page]) }
