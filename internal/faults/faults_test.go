package faults

import "testing"

// TestFaults runs the scenarios one after the other: their times to recover would disturb each other.
func TestFaults(t *testing.T) {
	t.Logf("seed %d", seed())
	for _, one := range []struct {
		name  string
		run   func(*testing.T)
		large bool // only at full size
	}{
		{"kills", testKills, false},
		{"writers", testWriters, false},
		{"postgres", testPostgres, false},
		{"cluster", testCluster, false},
		{"zombies", testZombies, false},
		{"leaders", testThreeLeaders, false},
		{"foreign", testForeignWriter, false},
		{"takeover-killed", testTakeOver, false},
		{"takeover-vanished", testVanishedHost, true},
		{"nats-kills", testNATSKills, false},
		{"nats-cluster", testNATSCluster, false},
		{"nats-full", testNATSFull, false},
		{"nats-forbids", testNATSForbids, true},
		{"nats-network", testNATSNetwork, true},
		{"nats-dedupe", testDedupeWindowPast, false},
		{"broker-truncated", testTruncatedBlock, false},
		{"broker-back", testStoreWentBack, false},
		{"broker-purged", testPurged, true},
		{"broker-recreated", testRecreatedStream, false},
		{"broker-flipped", testFlippedBit, true},
		{"poison", testPoison, false},
		{"poison-halts", testPoisonHalts, false},
		{"redis-down", testRedisDown, false},
		{"redis-loading", testRedisLoading, true},
		{"redis-readonly", testRedisReadOnly, false},
		{"redis-replies", testRedisReplies, true},
		{"redis-rights", testRedisRights, false},
		{"redis-full", testRedisFull, false},
		{"invalidators", testInvalidators, false},
		{"unlinked", testInvalidatorKills, false},
		{"buried", testBuried, false},
		{"waiting", testWaiting, true},
	} {
		if full() || !one.large {
			t.Run(one.name, one.run)
		}
	}
	if err := writeTable(); err != nil {
		t.Error(err)
	}
}
