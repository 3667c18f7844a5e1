package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/doctor"
)

// neverWritten is how old an attachment is whose table nobody has written to for that to be odd.
const neverWritten = 24 * time.Hour

// largestSkew is how far clocks may be apart. Echoes, retention and lags are told by them; what is published is not.
const largestSkew = 2 * time.Second

func judgeClock(u *checkup, skew time.Duration) {
	if skew.Abs() > largestSkew {
		u.warn("clock", "synchronise the clocks (chrony, systemd-timesyncd)", "%s apart from the clock of this machine: lags and retention are off by that", skew.Round(time.Millisecond))
		return
	}
	u.ok("clock", "as ours, but for %s at most", largestSkew)
}

func judgeAttached(u *checkup, all []doctor.Attached) {
	findings := 0
	for i := range all {
		f := &all[i]
		anew := fmt.Sprintf("outbox attach --table %s --subject '%s'", f.Table, f.Subject)
		switch {
		case !f.Exists:
			u.warn("attached", "DELETE FROM outbox.attached WHERE target = "+f.Table, "the table with oid %s was attached, and dropped", f.Table)
		case len(f.Lost) > 0:
			u.fail("attached", anew+", with columns that are there", "%s has no column %s, which its capture trigger names: writing to it fails", f.Table, strings.Join(f.Lost, ", "))
		case len(f.Silent) > 0:
			u.fail("attached", anew+"; or: ALTER TABLE "+f.Table+" ENABLE TRIGGER USER", "no event comes of %s on %s: the capture trigger is off or missing", strings.Join(f.Silent, ", "), f.Table)
		case f.Writes == 0 && f.Age > neverWritten:
			u.warn("attached", "outbox detach --table "+f.Table, "%s is attached since %d days, and was not written to since the statistics were reset", f.Table, int(f.Age.Hours()/24))
		default:
			continue
		}
		findings++
	}
	if findings == 0 {
		u.ok("attached", "%d tables, with triggers that fire", len(all))
	}
}
