package faults

import "testing"

// TestFaults runs the scenarios one after the other: their times to recover would disturb each other.
func TestFaults(t *testing.T) {
	t.Logf("seed %d", seed())
	for _, one := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"kills", testKills},
		{"writers", testWriters},
		{"postgres", testPostgres},
		{"cluster", testCluster},
		{"zombies", testZombies},
		{"leaders", testThreeLeaders},
		{"foreign", testForeignWriter},
		{"takeover-killed", testTakeOver},
		{"takeover-vanished", testVanishedHost},
		{"nats-kills", testNATSKills},
		{"nats-cluster", testNATSCluster},
		{"nats-full", testNATSFull},
		{"nats-forbids", testNATSForbids},
		{"nats-network", testNATSNetwork},
		{"nats-dedupe", testDedupeWindowPast},
		{"broker-truncated", testTruncatedBlock},
		{"broker-back", testStoreWentBack},
		{"broker-purged", testPurged},
		{"broker-recreated", testRecreatedStream},
		{"broker-flipped", testFlippedBit},
		{"poison", testPoison},
		{"poison-halts", testPoisonHalts},
		{"redis-down", testRedisDown},
		{"redis-loading", testRedisLoading},
		{"redis-readonly", testRedisReadOnly},
		{"redis-replies", testRedisReplies},
		{"redis-rights", testRedisRights},
		{"redis-full", testRedisFull},
		{"invalidators", testInvalidators},
		{"unlinked", testInvalidatorKills},
		{"buried", testBuried},
		{"waiting", testWaiting},
	} {
		t.Run(one.name, one.run)
	}
	if err := writeTable(); err != nil {
		t.Error(err)
	}
}
