package staleness

import (
	"fmt"
	"time"
)

// A method is how cached values are invalidated.
type method int

const (
	byTTL        method = iota // by nothing else
	delAfter                   // the application deletes after its commit
	delBefore                  // the application deletes before its commit
	byEvents                   // the capture trigger, the relay and the invalidator
	delForgotten = 1000        // one in so many transactions of delAfter dies before it deletes
)

// An Arm is one way of invalidating a cache, with what it promises.
type Arm struct {
	Name    string // D
	Title   string // events + echo 5 s
	Method  method
	TTL     time.Duration
	Echo    time.Duration // of the rule; 0: off
	Bound   time.Duration // what it promises, without the slack; 0: at once
	Holds   bool          // it has to keep its promise; else it has to be caught breaking it, unless Free
	Free    bool          // whatever it does is a finding
	Fill    bool          // readers use package fill
	Lag     time.Duration // of the replica that readers ask; 0: they ask the primary
	Gated   bool          // the echo waits for that replica
	Blind   bool          // the invalidator takes no notice when Redis is another one, and deletes nothing again
	Smooth  bool          // no fill stalls
	Faults  []faultKind   // in turn
	Control bool          // it only has to show that the oracle sees: half of the time
}

const longTTL = time.Hour

var usualFaults = []faultKind{killRelay, killInvalidator, restartRedis, restartNATS, partition}

// Arms are all arms of the experiment. stall is the longest that a fill takes.
func Arms(stall time.Duration) []Arm {
	const echo = 5 * time.Second
	return []Arm{
		{Name: "A", Title: "TTL 10 s, nothing else", Method: byTTL, TTL: 10 * time.Second, Bound: 10*time.Second + stall, Free: true, Control: true},
		{Name: "A2", Title: "TTL 1 h, nothing else", Method: byTTL, TTL: longTTL, Control: true},
		{Name: "B", Title: "DEL after commit, 1 in 1000 crashes before", Method: delAfter, TTL: longTTL, Control: true},
		{Name: "B0", Title: "DEL before commit", Method: delBefore, TTL: longTTL, Control: true},
		{Name: "C", Title: "events, one delete", Method: byEvents, TTL: longTTL, Blind: true, Faults: usualFaults},
		{Name: "D", Title: "events + echo 5 s", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Faults: usualFaults},
		{Name: "D0", Title: "as D, fills never stall, no faults", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Smooth: true, Control: true},
		{Name: "E", Title: "events, readers use fill", Method: byEvents, TTL: longTTL, Fill: true, Holds: true, Faults: usualFaults},
		{Name: "E2", Title: "fill + echo 5 s", Method: byEvents, TTL: longTTL, Fill: true, Echo: echo, Holds: true, Faults: usualFaults},
		{Name: "F", Title: "echo 6 s, readers ask a replica 2 s behind", Method: byEvents, TTL: longTTL, Echo: 6 * time.Second, Bound: 6 * time.Second, Lag: 2 * time.Second, Holds: true, Faults: usualFaults},
		{Name: "F1", Title: "echo 1 s, readers ask a replica 2 s behind", Method: byEvents, TTL: longTTL, Echo: time.Second, Bound: time.Second, Lag: 2 * time.Second, Faults: usualFaults},
		{Name: "F2", Title: "echo 4 s after the replica, which is 2 s behind", Method: byEvents, TTL: longTTL, Echo: 4 * time.Second, Bound: 6 * time.Second, Lag: 2 * time.Second, Gated: true, Holds: true, Faults: usualFaults},
		{Name: "G", Title: "as D, Redis fails over and loses deletes", Method: byEvents, TTL: longTTL, Echo: echo, Bound: echo, Holds: true, Faults: []faultKind{promote}},
		{Name: "G2", Title: "as E, Redis fails over and loses deletes", Method: byEvents, TTL: longTTL, Fill: true, Holds: true, Faults: []faultKind{promote}},
		{Name: "G0", Title: "as G2, without the replay", Method: byEvents, TTL: longTTL, Fill: true, Blind: true, Faults: []faultKind{promote}},
	}
}

// flags are those of the invalidator.
func (a Arm) flags() (flags []string) {
	if a.Gated {
		flags = append(flags, "--echo-replicas", "walreceiver") // as a standby calls itself unless told otherwise
	}
	if a.Blind {
		return append(flags, "--replay-window", "0s")
	}
	return append(flags, "--replay-window", replayWindow)
}

// echo is what the rule file says.
func (a Arm) echo() string {
	if a.Echo == 0 {
		return "off"
	}
	return a.Echo.String()
}

// lanes is how many consumers delete the keys of an event.
func (a Arm) lanes() int {
	switch {
	case a.Method != byEvents:
		return 0
	case a.Echo == 0:
		return 1
	}
	return 2
}

// rules is the rule file.
func (a Arm) rules() []byte {
	return fmt.Appendf(nil, "rules:\n  - subject: %s.*.updated\n    keys: [\"acct:$1:profile\", \"acct:$1:card\"]\n    echo: %q\n", subject, a.echo())
}

// replayWindow is less than the default: what a replay deletes again hides what is stuck, so it has to be over long before
// the end. A replica that is promoted has missed less.
const replayWindow = "10s"

const (
	stream  = "ACCT"
	subject = "acct"
	durable = "invalidate-now"
)

// pages are what is cached of each row.
var pages = [...]string{"profile", "card"}

func cacheKey(row, page int) string { return fmt.Sprintf("acct:%d:%s", row, pages[page]) }
