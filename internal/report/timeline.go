package report

import (
	"encoding/json"
	"fmt"
	"os"
)

// Timeline is what a long run shows over time, in plots above each other. Tests write it, and internal/figures draws it, so that no
// test needs what draws.
type Timeline struct {
	Minutes float64        `json:"minutes"` // length of the run
	Marks   []float64      `json:"marks"`   // minutes of an event, shown as crosses on the axes
	Mark    string         `json:"mark"`    // what a cross means
	Shade   [2]float64     `json:"shade"`   // minutes from and to, shaded in the first plot
	Shaded  string         `json:"shaded"`  // what the shade means
	Plots   []TimelinePlot `json:"plots"`
}

// TimelinePlot is one plot of a Timeline.
type TimelinePlot struct {
	Title  string          `json:"title"`
	Unit   string          `json:"unit"`
	Least  float64         `json:"least"` // least upper end of the axis
	Curves []TimelineCurve `json:"curves"`
}

// TimelineCurve is one curve: a value at each of the minutes.
type TimelineCurve struct {
	Name    string    `json:"name"`
	Minutes []float64 `json:"minutes"`
	Values  []float64 `json:"values"`
}

// Write writes the timeline to a file as JSON.
func (t *Timeline) Write(path string) error {
	data, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("write timeline: %w", err)
	}
	return os.WriteFile(path, append(data, '\n'), 0o644) // #nosec G306 -- part of the documentation
}

// ReadTimeline reads a file that Write wrote.
func ReadTimeline(path string) (*Timeline, error) {
	data, err := os.ReadFile(path) // #nosec G304 -- the caller's file
	if err != nil {
		return nil, fmt.Errorf("read timeline: %w", err)
	}
	t := new(Timeline)
	if err := json.Unmarshal(data, t); err != nil {
		return nil, fmt.Errorf("read timeline %s: %w", path, err)
	}
	return t, nil
}
