#!/bin/sh
# Breaks the code in one place after another, in a copy, and expects the tests to notice: a test that cannot fail says
# nothing. Prints how long each took to be noticed. `make mutations`, or with a WORD only those that contain it.
set -eu
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT INT TERM
git ls-files -z | xargs -0 cp --parents -t "$copy"
missed=0

# mutate NAME PACKAGE TESTS FILE PERL
mutate() {
    case $1 in *"${WORD:-}"*) ;; *) return 0 ;; esac
    cp "$copy/$4" "$copy/saved"
    perl -0pi -e "$5" "$copy/$4"
    if cmp -s "$copy/$4" "$copy/saved"; then
        echo "$1: the code has changed, mend the mutation" >&2
        exit 1
    fi
    began=$(date +%s)
    if (cd "$copy" && go test -count=1 -timeout 10m -run "$3" "$2") >"$copy/log" 2>&1; then
        echo "MISSED    $1 ($2 $3)"
        missed=1
    elif grep -q 'build failed' "$copy/log"; then
        cat "$copy/log" >&2
        exit 1
    else
        echo "noticed   $1 after $(($(date +%s) - began)) s: $(grep -m1 -E 'stream against table|differs from the table|stale|pending|not within|planned|want|killed|moved' "$copy/log" | sed 's/^ *//' | cut -c1-110)"
    fi
    cp "$copy/saved" "$copy/$4"
}

faults=./internal/faults
mutate 'late rows are not looked for' $faults TestFaults/kills sql/queries/plan.sql \
    's/xid < c\.until/xid < c.until AND false/; s/pg_visible_in_snapshot\(x, c\.sees\)/false/'
mutate 'rows above xmax are not late' $faults TestFaults/kills sql/queries/plan.sql \
    's/xid < c\.until/xid < c.until AND false/'
mutate 'published before the plan is durable' $faults TestFaults/postgres sql/queries/session.sql \
    "s/CASE WHEN current_setting\('synchronous_commit'\).*?END/'off'/s"
mutate 'no expected sequence' $faults 'TestFaults/(zombies|leaders)' relay/message.go \
    's/p\.msg\.Header\["Nats-Expected-Last-Sequence"\] = /_ = /'
mutate 'resume after the receipt, not after the stream' $faults TestFaults/kills relay/resume.go \
    's/found, err := r\.scan\(ctx, t, log, known\)/found, err := &found{low: known, last: known, from: known + 1}, error(nil)/'
mutate 'acknowledged before UNLINK' $faults 'TestFaults/(redis-readonly|redis-rights|unlinked)' invalidate/lane.go \
    's/(\tstop := l\.keepAlive\(func\(\) \{ touch\(msgs\) \}\)\n)/\tfor _, msg := range b.good {\n\t\t_ = msg.Ack()\n\t}\n$1/'
mutate 'no NOTIFY while the relay sleeps' ./outbox TestNoWakeUpIsLost sql/migrations/001_outbox.sql \
    's/WHEN \(NOT pg_try_advisory_xact_lock_shared/WHEN (false AND NOT pg_try_advisory_xact_lock_shared/'
mutate 'holes are not healed' $faults TestFaults/broker-truncated relay/resume.go \
    's/if err := r\.heal\(ctx, t, log, r\.suspects\); err != nil/if false/'
mutate 'xids of another cluster are believed' ./outbox TestAdopt sql/queries/plan.sql \
    's/greatest\(late_after, \(SELECT settled.*?\), 0\)/coalesce(late_after, 0)/'
mutate 'displaced events are not planned again' ./relay TestEventsDisplaced relay/resume.go \
    's/if err := r\.replan\(ctx, found\); err != nil/if false/'
exit $missed
