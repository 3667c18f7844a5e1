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
	} {
		t.Run(one.name, one.run)
	}
	if err := writeTable(); err != nil {
		t.Error(err)
	}
}
