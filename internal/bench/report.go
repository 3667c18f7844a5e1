package bench

import (
	"path/filepath"
	"slices"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Report is the content of results.json. Its parts may come from several runs; each records when it was measured.
type Report struct {
	Platform *Platform      `json:"platform"` // of the last run
	Results  []*Result      `json:"results"`
	Curves   []*CurveResult `json:"curves"`
}

const resultsFile = "results.json"

// ReadReport reads the report of a folder. It is empty if the folder has none.
func ReadReport(dir string) (*Report, error) {
	r := &Report{}
	return r, report.ReadJSON(filepath.Join(dir, resultsFile), r)
}

// Add adds a result, in place of an older one of the same scenario.
func (r *Report) Add(result *Result) {
	rank := func(x *Result) int {
		return slices.IndexFunc(Scenarios(), func(s *Scenario) bool { return s.Name == x.Scenario })
	}
	r.Results = append(slices.DeleteFunc(r.Results, func(x *Result) bool { return x.Scenario == result.Scenario }), result)
	slices.SortFunc(r.Results, func(a, b *Result) int { return rank(a) - rank(b) })
}

// AddCurve adds a curve, in place of an older one of the same name.
func (r *Report) AddCurve(curve *CurveResult) {
	rank := func(x *CurveResult) int {
		return slices.IndexFunc(Curves(), func(c *Curve) bool { return c.Name == x.Curve })
	}
	r.Curves = append(slices.DeleteFunc(r.Curves, func(x *CurveResult) bool { return x.Curve == curve.Curve }), curve)
	slices.SortFunc(r.Curves, func(a, b *CurveResult) int { return rank(a) - rank(b) })
}

// Write writes results.json and the tables of README.md and details.md, which must have the markers if they exist.
func (r *Report) Write(dir string) error {
	if err := report.WriteJSON(filepath.Join(dir, resultsFile), r); err != nil {
		return err
	}
	if err := report.UpdatePage(filepath.Join(dir, "README.md"), report.Section{Name: "results", Text: r.resultTable()}); err != nil {
		return err
	}
	return report.UpdatePage(filepath.Join(dir, "details.md"), report.Section{Name: "use", Text: r.useTable()},
		report.Section{Name: "settings", Text: r.settingsList()}, report.Section{Name: "curves", Text: r.curveTables()})
}
