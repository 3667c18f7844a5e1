#!/bin/sh
# Applies mutations to a copy of the code, one at a time, and requires that the tests fail for each: a test that cannot
# fail proves nothing. Prints how long the tests took to detect each mutation. Run it with `make mutations`; with WORD set,
# only mutations whose name contains WORD.
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
        echo "$1: the mutation does not match $4; adapt its pattern to the current code" >&2
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
        echo "detected  $1 after $(($(date +%s) - began)) s: $(grep -m1 -E 'stream against table|differs from the table|stale|pending|not within|planned|want|killed|moved' "$copy/log" | sed 's/^ *//' | cut -c1-110)"
    fi
    cp "$copy/saved" "$copy/$4"
}

faults=./internal/faults
mutate 'late rows are not read' $faults TestFaults/kills sql/queries/plan.sql \
    's/xid < c\.until/xid < c.until AND false/; s/pg_visible_in_snapshot\(x, c\.sees\)/false/'
mutate 'rows above xmax are not late' $faults TestFaults/kills sql/queries/plan.sql \
    's/xid < c\.until/xid < c.until AND false/'
mutate 'published before the plan is durable' $faults TestFaults/postgres sql/queries/session.sql \
    "s/CASE WHEN current_setting\('synchronous_commit'\).*?END/'off'/s"
mutate 'no expected sequence' $faults 'TestFaults/(zombies|three-leaders)' relay/message.go \
    's/p\.msg\.Header\["Nats-Expected-Last-Sequence"\] = /_ = /'
mutate 'resume after the receipt instead of the end of the stream' $faults TestFaults/kills relay/evidence.go \
    's/e\.tail, err = r\.scanTail\(ctx, e\)/e.tail, err = (&tail{contiguous: e.known, last: e.known, from: e.known + 1, end: e.state.Last}), error(nil)/'
mutate 'acknowledged before UNLINK' $faults 'TestFaults/(redis-readonly|redis-permissions|invalidator-kills)' invalidate/process.go \
    's/(\tstop := c\.keepAlive\(func\(\) \{ inProgress\(msgs\) \}\)\n)/\tfor _, msg := range b.complete {\n\t\t_ = msg.Ack()\n\t}\n$1/'
mutate 'no NOTIFY while the relay sleeps' ./internal/table TestNoWakeIsLost sql/migrations/001_outbox.sql \
    's/WHEN \(NOT pg_try_advisory_xact_lock_shared/WHEN (false AND NOT pg_try_advisory_xact_lock_shared/'
mutate 'gaps in the stream are not repaired' $faults TestFaults/broker-truncated relay/apply.go \
    's/if err := r\.repairRemoved\(ctx, e, d\); err != nil/if err := error(nil); err != nil/'
mutate 'xids of another cluster are trusted' ./internal/table TestAdopt sql/queries/plan.sql \
    's/greatest\(late_after, \(SELECT settled.*?\), 0\)/coalesce(late_after, 0)/'
mutate 'displaced events are not planned again' ./relay TestEventsDisplaced relay/apply.go \
    's/range d\.displaced \{/range d.displaced[:0] {/'
exit $missed
