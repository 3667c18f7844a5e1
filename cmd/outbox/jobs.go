package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/jobs"
	"github.com/seed-6eff6314/outbox-relay/internal/table"
)

func jobsCommand() *cli.Command {
	return &cli.Command{
		Name: "jobs", Usage: "list replays and backfills, how far they are, and what goes on with each", UsageText: "outbox jobs [flags]",
		Description: `A job is running while a session of PostgreSQL does it, paused by outbox pause --job, done, or stopped: interrupted, killed or
failed. What is stopped goes on with the command in the last column.

Examples:
  outbox jobs
  outbox jobs --limit 5 -o json | jq -r '.jobs[] | select(.state == "stopped").continue'`,
		Flags:  append(settingFlags(""), &cli.IntFlag{Name: "limit", Value: 20, Usage: "`N` jobs at most, the newest"}, outputFlag()),
		Action: withSettings("", list),
	}
}

type jobJSON struct {
	ID        string          `json:"id"`
	Kind      string          `json:"kind"`
	State     string          `json:"state"`   // running, paused, done or stopped
	Running   bool            `json:"running"` // by a session: one that is paused may be, too
	StartedBy string          `json:"started_by"`
	StartedAt time.Time       `json:"started_at"`
	StepAt    *time.Time      `json:"step_at"` // of the last step; null before the first
	Seen      int64           `json:"seen"`
	Total     int64           `json:"total"` // 0: not known
	Events    int64           `json:"events"`
	Spec      json.RawMessage `json:"spec"`
	Pause     *pauseJSON      `json:"pause"`    // null: not paused
	Continue  *string         `json:"continue"` // the command; null when it is done
}

func newJobJSON(job *jobs.Job, pauses []pauseJSON) jobJSON {
	out := jobJSON{
		ID: job.ID.String(), Kind: job.Kind, State: "stopped", Running: job.Running, StartedBy: job.StartedBy, StartedAt: job.StartedAt,
		Seen: job.Last.Seen, Total: job.Total(), Events: job.Last.Events, Spec: job.Spec,
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

func list(c *cli.Context, s settings) error {
	asJSON, err := wantsJSON(c)
	if err != nil {
		return err
	}
	if c.Int("limit") < 1 {
		return usagef(c, "flag --limit %d: want a number above 0", c.Int("limit"))
	}
	tbl, pool, err := connectTable(c, s)
	if err != nil {
		return err
	}
	defer pool.Close()
	list, err := jobs.In(tbl).Jobs(c.Context, pool, c.Int("limit"))
	if err != nil {
		return err
	}
	pauses, err := tbl.Pauses(c.Context, pool)
	if err != nil {
		return err
	}
	out := make([]jobJSON, len(list))
	for i := range list {
		out[i] = newJobJSON(&list[i], newPauses(pauses))
	}
	if asJSON {
		return printJSON(c.App.Writer, struct {
			Jobs []jobJSON `json:"jobs"`
		}{out})
	}
	if len(out) == 0 {
		fmt.Fprintln(c.App.ErrWriter, "there are no jobs: no replay or backfill was begun")
	}
	return printJobs(c, out)
}

func printJobs(c *cli.Context, list []jobJSON) error {
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
		seen := fmt.Sprint(j.Seen)
		if j.Total > 0 {
			seen = fmt.Sprintf("%d of %d", j.Seen, j.Total)
		}
		rows = append(rows, []string{j.ID, j.Kind, j.State, plain(j.StartedBy), age(j.StartedAt), seen, fmt.Sprint(j.Events), clip(plain(specText(j.Spec)), 60), next})
	}
	return printTable(c.App.Writer, []string{"ID", "KIND", "STATE", "BY", "AGE", "SEEN", "EVENTS", "SPEC", "CONTINUE"}, rows)
}

// specText is what was asked for, in short: of any spec whatever limits something.
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
