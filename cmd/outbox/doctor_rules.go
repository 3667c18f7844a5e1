package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	rulesPart  = "rules"
	rulesSpan  = 7 * 24 * time.Hour // age of the events that rules are compared with
	rulesMost  = 100_000            // of those events, at most
	rulesNamed = 5                  // subjects or rules named in one finding
)

// inspectRules compares the rules with the subjects of recent events, in both directions.
func inspectRules(ctx context.Context, s *session, u *checkup) error {
	set, err := readRules(s.set)
	if err != nil {
		u.fail("file", "outbox rules check --rules "+s.set.Text("invalidate.rules"), "%v", err)
		return nil
	}
	if s.pool == nil { // it was skipped, or not reached
		if err := s.dialPostgres(ctx); exit.IsUsage(err) {
			return err
		} else if err != nil {
			u.unreached(err, "to see the URL in use, run: outbox config show")
			return nil
		}
	}
	used, strange, seen := make(map[int]bool), make(map[string]int), make(map[string]bool)
	looked, err := s.table.RecentEvents(ctx, s.pool, time.Now().Add(-rulesSpan), rulesMost, func(_ int64, e *event.Event) bool {
		name := family(e.Subject)
		if key := e.Headers[event.HeaderOp] + " " + e.Subject; seen[key] {
			return true // one event of each kind is enough
		} else {
			seen[key] = true
		}
		matched := set.Explain(e).Matched
		for _, m := range matched {
			used[m.Rule] = true
		}
		if len(matched) == 0 {
			strange[name]++
		}
		return true
	})
	if err != nil {
		u.broke("subjects", err)
		return nil
	}
	checkRules(u, set.Len(), used, strange, looked)
	return nil
}

func checkRules(u *checkup, rules int, used map[int]bool, strange map[string]int, looked int) {
	var idle []string
	for i := range rules {
		if !used[i] {
			idle = append(idle, fmt.Sprint(i))
		}
	}
	switch {
	case looked == 0:
		u.ok("used", "no recent event to compare the %d rules with", rules)
	case len(idle) > 0:
		u.warn("used", "outbox rules explain --subject <subject>", "none of the last %d events matches rule %s", looked, some(idle))
	default:
		u.ok("used", "each of the %d rules matches one of the last %d events", rules, looked)
	}
	if len(strange) > 0 {
		names := slices.SortedFunc(maps.Keys(strange), func(a, b string) int { return strings.Compare(a, b) })
		u.warn("subjects", "add a rule for them, unless nothing is cached of them", "no rule matches %s", some(names))
	} else {
		u.ok("subjects", "every subject of the last %d events has a rule", looked)
	}
}

// some is a list with at most rulesNamed names.
func some(list []string) string {
	text := strings.Join(list[:min(len(list), rulesNamed)], ", ")
	if more := len(list) - rulesNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
