package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func jobsCommand() *cli.Command {
	return &cli.Command{
		Name: "jobs", Usage: "list replays and backfills, and the command that continues each", UsageText: "outbox jobs [flags]",
		Description: `A job is running while a session of PostgreSQL performs it, paused by outbox pause --job, done, or stopped: interrupted,
killed or failed. To continue a stopped job, run the command in the last column.

Examples:
  outbox jobs
  outbox jobs --limit 5 -o json | jq -r '.jobs[] | select(.state == "stopped").continue'`,
		Flags:  append(setting.Flags(""), &cli.IntFlag{Name: "limit", Value: 20, Usage: "`N` newest jobs"}, term.OutputFlag()),
		Action: action("", listJobs),
	}
}

type jobJSON struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	State     string          `json:"state"`   // running, paused, done or stopped
	Running   bool            `json:"running"` // by a session; also true for a paused job
	StartedBy string          `json:"started_by"`
	StartedAt time.Time       `json:"started_at"`
	StepAt    *time.Time      `json:"step_at"` // of the last step; null before the first
	Scanned   int64           `json:"scanned"`
	Total     int64           `json:"total"` // 0: unknown
	Events    int64           `json:"events"`
	Spec      json.RawMessage `json:"spec"`
	Pause     *pauseJSON      `json:"pause"`    // null: not paused
	Continue  *string         `json:"continue"` // the command; null when it is done
}

func newJobJSON(job *jobs.Job, pauses []pauseJSON) jobJSON {
	out := jobJSON{
		ID: job.ID.String(), Kind: job.Kind, State: "stopped", Running: job.Running, StartedBy: job.StartedBy, StartedAt: job.StartedAt,
		Scanned: job.Last.Scanned, Total: job.Total(), Events: job.Last.Events, Spec: job.Spec,
	}
	if !job.Last.At.IsZero() {
		out.StepAt = &job.Last.At
	}
	if job.Running {
		out.State = "running"
	}
	if job.Last.Done {
		out.State = "done"
		return out
	}
	command := continues(job)
	out.Continue = &command
	if i := slices.IndexFunc(pauses, func(p pauseJSON) bool { return p.Target == table.PauseJob(job.ID) }); i >= 0 {
		out.State, out.Pause = "paused", &pauses[i]
	}
	return out
}

func listJobs(ctx context.Context, s *session) error {
	if s.c.Int("limit") < 1 {
		return exit.Usagef(s.c, "flag --limit: want a number above 0, got %d", s.c.Int("limit"))
	}
	if err := s.dialPostgres(ctx); err != nil {
		return err
	}
	list, err := jobs.In(s.table).Jobs(ctx, s.pool, s.c.Int("limit"))
	if err != nil {
		return err
	}
	pauses, err := s.table.Pauses(ctx, s.pool)
	if err != nil {
		return err
	}
	out := make([]jobJSON, len(list))
	for i := range list {
		out[i] = newJobJSON(&list[i], newPauses(pauses))
	}
	return s.print(struct {
		Jobs []jobJSON `json:"jobs"`
	}{out}, func(w io.Writer) error {
		if len(out) == 0 {
			s.notef("no jobs\n")
		}
		return printJobs(w, out)
	})
}

func printJobs(w io.Writer, list []jobJSON) error {
	var rows [][]string
	for i := range list {
		j := &list[i]
		next := "-"
		if j.Continue != nil {
			next = *j.Continue
		}
		if j.Pause != nil {
			next = "outbox resume --job " + j.ID + ", then " + next
		}
		seen := fmt.Sprint(j.Scanned)
		if j.Total > 0 {
			seen = fmt.Sprintf("%d of %d", j.Scanned, j.Total)
		}
		rows = append(rows, []string{j.ID, j.Kind, j.State, term.Plain(j.StartedBy), term.Age(j.StartedAt), seen, fmt.Sprint(j.Events), term.Clip(term.Plain(specText(j.Spec)), 60), next})
	}
	return term.Table(w, []string{"ID", "KIND", "STATE", "BY", "AGE", "SCANNED", "EVENTS", "SPEC", "CONTINUE"}, rows)
}

// specText abbreviates a spec to the fields that limit it.
func specText(spec json.RawMessage) string {
	var fields map[string]any
	if err := json.Unmarshal(spec, &fields); err != nil {
		return string(spec)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		text := ""
		switch value := fields[name].(type) {
		case nil, bool:
			if value == true {
				text = "true"
			}
		case string:
			text = value
			if at, err := time.Parse(time.RFC3339, value); err == nil {
				text = at.UTC().Format(time.RFC3339)
			}
		case float64:
			if value != 0 && value < math.MaxInt64/2 {
				text = fmt.Sprintf("%.0f", value)
			}
		default:
			encoded, err := json.Marshal(value)
			if err != nil {
				continue
			}
			text = strings.Trim(strings.ReplaceAll(string(encoded), `"`, ""), "[]{}")
		}
		if text != "" && text != "infinity" && text != "-infinity" && name != "patterns" && name != "total" {
			out = append(out, name+"="+text)
		}
	}
	return strings.Join(out, " ")
}
