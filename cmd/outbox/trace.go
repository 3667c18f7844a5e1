package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/health"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

func traceCommand() *cli.Command {
	return &cli.Command{
		Name: "trace", Usage: "follow an event, a key or a cache key through every hop", UsageText: "outbox trace --event-id <uuid> | --key <key> | --cache-key <key> --rules <file> [flags]",
		Description: `Prints when an event was committed, planned, acknowledged and stored, whether each consumer has acknowledged it, which
cache keys it deletes (with --rules), and its copies. A hop that the event has not reached yet is "waiting".

--key follows the last events of a key. --cache-key searches the events since --since for those that delete a cache key or
a tag.

Examples:
  outbox trace --event-id 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10
  outbox trace --key user:42 --limit 3 --rules rules.yaml
  outbox trace --cache-key user:42:profile --rules rules.yaml --since 1h -o json`,
		Flags: append(setting.Flags("invalidate", "rules"),
			&cli.StringFlag{Name: "event-id", Usage: "`UUID` of the event"},
			&cli.StringFlag{Name: "key", Usage: "`KEY` of events"},
			&cli.StringFlag{Name: "cache-key", Usage: "`KEY` in the cache, or a tag; requires --rules"},
			&cli.StringFlag{Name: "since", Value: "24h", Usage: "`AGE` of the oldest event that --key and --cache-key search, such as 1h or 7d"},
			&cli.IntFlag{Name: "limit", Value: 10, Usage: "`N` events at most"},
			&cli.IntFlag{Name: "scan", Value: 1_000_000, Usage: "`N` events that --cache-key searches, at most"},
			term.OutputFlag()),
		Action: action("invalidate", trace),
	}
}

// A hop is one stage of the way of an event.
type hop struct {
	Hop   string    `json:"hop"`            // row, plan, receipt, stream, parked, consumer, cache
	State string    `json:"state"`          // done, waiting, missing, or a state of the hop itself
	At    time.Time `json:"at,omitzero"`    // zero if unknown
	What  string    `json:"what,omitempty"` // details, for a person
	Name  string    `json:"name,omitempty"` // of the consumer
}

type tracedJSON struct {
	EventID  string   `json:"event_id"`
	Subject  string   `json:"subject"`
	Key      string   `json:"key"`
	State    string   `json:"state"`
	ResendOf string   `json:"resend_of,omitempty"`
	Position int64    `json:"position,omitempty"`
	Sequence uint64   `json:"sequence,omitempty"`
	Keys     []string `json:"keys,omitempty"` // in the cache, that it deletes
	Tags     []string `json:"tags,omitempty"` // whose members it deletes
	Hops     []hop    `json:"hops"`
}

type traceJSON struct {
	Events   []tracedJSON `json:"events"`
	Searched int          `json:"searched,omitempty"` // events, for --cache-key
}

// A tracer follows events.
type tracer struct {
	*monitor
	rules     *rules.Set // nil without --rules
	stream    jetstream.Stream
	consumers []health.Consumer
}

func trace(ctx context.Context, s *session) error {
	q, err := readTraceQuery(s.c, s.set)
	if err != nil {
		return err
	}
	l, err := openMonitor(ctx, s)
	if err != nil {
		return err
	}
	t := &tracer{monitor: l, rules: q.rules}
	found, searched, err := t.find(ctx, q)
	if err != nil {
		return err
	}
	away := t.away
	if away == nil {
		away = t.openStream(ctx)
	}
	out := traceJSON{Events: []tracedJSON{}, Searched: searched}
	for i := range found {
		one, err := t.follow(ctx, &found[i])
		if err != nil {
			return errors.Join(err, away)
		}
		out.Events = append(out.Events, *one)
	}
	err = s.print(out, out.print)
	if err == nil && away == nil && len(found) == 0 {
		return exit.Findingsf("no such event in the table%s; to see which events it keeps, run: outbox partitions", q.where(searched))
	}
	return errors.Join(err, away)
}

// A traceQuery chooses events.
type traceQuery struct {
	id            uuid.UUID
	key, cacheKey string
	since         time.Time
	limit, scan   int
	rules         *rules.Set
}

func (q *traceQuery) where(searched int) string {
	if q.cacheKey != "" {
		return fmt.Sprintf(" that deletes %q, among %d events searched", q.cacheKey, searched)
	}
	return ""
}

func readTraceQuery(c *cli.Context, set *setting.Set) (q traceQuery, err error) {
	given := 0
	for _, name := range []string{"event-id", "key", "cache-key"} {
		if c.String(name) != "" {
			given++
		}
	}
	if given != 1 {
		return q, exit.Usagef(c, "want one of --event-id, --key and --cache-key")
	}
	if id := c.String("event-id"); id != "" {
		if q.id, err = uuid.Parse(id); err != nil {
			return q, exit.Usagef(c, "flag --event-id: want a UUID, got %q", id)
		}
	}
	back, err := setting.Days(c.String("since"))
	if err != nil {
		return q, exit.Usagef(c, "flag --since: want an age such as 1h or 7d, got %q", c.String("since"))
	}
	q.key, q.cacheKey, q.since, q.limit, q.scan = c.String("key"), c.String("cache-key"), time.Now().Add(-back), c.Int("limit"), c.Int("scan")
	if q.limit < 1 || q.limit > 1000 || q.scan < 1 {
		return q, exit.Usagef(c, "want --limit from 1 to 1000 and --scan of 1 or more")
	}
	if q.cacheKey != "" || set.Text("invalidate.rules") != "" {
		q.rules, err = readRules(set)
	}
	return q, err
}

// find returns the events of a query, and how many it searched.
func (t *tracer) find(ctx context.Context, q traceQuery) (found []table.Trail, searched int, err error) {
	switch {
	case q.id != uuid.Nil:
		found, err = t.table.TrailOf(ctx, t.pool, q.id)
		if err == nil && len(found) > 0 && found[0].ResendOf != uuid.Nil { // a copy: follow its original too
			var family []table.Trail
			if family, err = t.table.TrailOf(ctx, t.pool, found[0].ResendOf); len(family) > 0 {
				found = family
			}
		}
	case q.key != "":
		found, err = t.table.TrailOfKey(ctx, t.pool, q.key, q.since, q.limit)
	default:
		var rows []int64
		searched, err = t.table.RecentEvents(ctx, t.pool, q.since, q.scan, func(row int64, e *event.Event) bool {
			if deletes(q.rules, e, q.cacheKey) {
				rows = append(rows, row)
			}
			return len(rows) < q.limit
		})
		if err == nil && len(rows) > 0 {
			found, err = t.table.TrailOfRows(ctx, t.pool, rows)
		}
	}
	return found, searched, err
}

func deletes(set *rules.Set, e *event.Event, key string) bool {
	for _, m := range set.Explain(e).Matched {
		if slices.Contains(m.Keys, key) || slices.Contains(m.Tags, key) {
			return true
		}
	}
	return false
}
