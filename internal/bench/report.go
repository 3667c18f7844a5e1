package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Report is all that is known: results.json of docs/performance. Its parts may come from several runs, each says when it was.
type Report struct {
	Place   *Place    `json:"place"` // of the last run
	Results []*Result `json:"results"`
	Curves  []*Drawn  `json:"curves"`
}

const resultsFile = "results.json"

// ReadReport reads what a folder has, which may be nothing.
func ReadReport(dir string) (*Report, error) {
	r := &Report{}
	data, err := os.ReadFile(filepath.Join(dir, resultsFile)) // #nosec G304 -- where the caller wants it
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	return r, nil
}

// Add takes a result in, in place of an older one of the same scenario.
func (r *Report) Add(result *Result) {
	rank := func(x *Result) int {
		return slices.IndexFunc(Scenarios(), func(s *Scenario) bool { return s.Name == x.Scenario })
	}
	r.Results = append(slices.DeleteFunc(r.Results, func(x *Result) bool { return x.Scenario == result.Scenario }), result)
	slices.SortFunc(r.Results, func(a, b *Result) int { return rank(a) - rank(b) })
}

// AddCurve takes a curve in, in place of an older one.
func (r *Report) AddCurve(curve *Drawn) {
	rank := func(x *Drawn) int {
		return slices.IndexFunc(Curves(), func(c *Curve) bool { return c.Name == x.Curve })
	}
	r.Curves = append(slices.DeleteFunc(r.Curves, func(x *Drawn) bool { return x.Curve == curve.Curve }), curve)
	slices.SortFunc(r.Curves, func(a, b *Drawn) int { return rank(a) - rank(b) })
}

// Write writes results.json, and the tables into README.md between their markers, if that has them.
func (r *Report) Write(dir string) error {
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, resultsFile), append(data, '\n'), 0o644); err != nil { // #nosec G306 -- for everybody
		return fmt.Errorf("write results: %w", err)
	}
	path := filepath.Join(dir, "README.md")
	text, err := os.ReadFile(path) // #nosec G304 -- where the caller wants it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write tables: %w", err)
	}
	out := between(string(text), "results", r.tables())
	out = between(out, "curves", r.curveTables())
	if err := os.WriteFile(path, []byte(out), 0o644); err != nil { // #nosec G306 -- for everybody
		return fmt.Errorf("write tables: %w", err)
	}
	return nil
}

// between puts a text between two markers, <!-- name --> and <!-- end of name -->; without them nothing is changed.
func between(text, name, middle string) string {
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->"
	from, to := strings.Index(text, begin), strings.Index(text, end)
	if from < 0 || to < from {
		return text
	}
	return text[:from+len(begin)] + "\n" + strings.TrimSpace(middle) + "\n\n" + text[to:]
}
