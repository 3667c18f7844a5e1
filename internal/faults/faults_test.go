package faults

import "testing"

// TestFaults runs the scenarios one after another, because concurrent scenarios would distort the measured recovery
// times.
func TestFaults(t *testing.T) {
	t.Logf("seed %d", seed())
	for _, one := range []struct {
		name  string
		run   func(*testing.T)
		large bool // runs only at full size
	}{
		{"kills", testKills, false},
		{"writers", testWriters, false},
		{"postgres", testPostgres, false},
		{"cluster", testCluster, false},
		{"zombies", testZombies, false},
		{"three-leaders", testThreeLeaders, false},
		{"foreign-writer", testForeignWriter, false},
		{"takeover-killed", testTakeOver, false},
		{"takeover-unreachable", testUnreachableHost, true},
		{"nats-kills", testNATSKills, false},
		{"nats-cluster", testNATSCluster, false},
		{"nats-full", testNATSFull, false},
		{"nats-permissions", testNATSPermissions, true},
		{"nats-network", testNATSNetwork, true},
		{"nats-dedupe", testDedupeWindowPast, false},
		{"broker-truncated", testTruncatedBlock, false},
		{"broker-restored", testStoreRestored, false},
		{"broker-purged", testPurged, true},
		{"broker-recreated", testRecreatedStream, false},
		{"broker-bit-flip", testFlippedBit, true},
		{"poison", testPoison, false},
		{"poison-halts", testPoisonHalts, false},
		{"redis-down", testRedisDown, false},
		{"redis-loading", testRedisLoading, true},
		{"redis-readonly", testRedisReadOnly, false},
		{"redis-replies", testRedisReplies, true},
		{"redis-permissions", testRedisPermissions, false},
		{"redis-full", testRedisFull, false},
		{"invalidators", testInvalidators, false},
		{"invalidator-kills", testInvalidatorKills, false},
		{"dead-letter-kills", testDeadLetterKills, false},
		{"invalidator-backlog", testInvalidatorBacklog, true},
	} {
		if full() || !one.large {
			t.Run(one.name, one.run)
		}
	}
	if err := writeTable(); err != nil {
		t.Error(err)
	}
}
