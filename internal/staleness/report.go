package staleness

import (
	"fmt"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Report is the content of results.json. Its arms may come from several runs; each records its duration and seed.
type Report struct {
	Machine  string    `json:"machine"`
	Versions string    `json:"versions"`
	Config   Config    `json:"config"` // of the last run
	Arms     []*Result `json:"arms"`
}

const resultsFile = "results.json"

// ReadReport reads the report of a folder. It is empty if the folder has none.
func ReadReport(dir string) (*Report, error) {
	r := &Report{}
	return r, report.ReadJSON(filepath.Join(dir, resultsFile), r)
}

// Add adds the result of an arm, in place of an earlier one. order lists the names of all arms.
func (r *Report) Add(one *Result, cfg Config, order []string) {
	r.Machine, r.Versions, r.Config = machine(), one.Versions, cfg
	r.Arms = slices.DeleteFunc(r.Arms, func(a *Result) bool { return a.Name == one.Name })
	r.Arms = append(r.Arms, one)
	slices.SortFunc(r.Arms, func(a, b *Result) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
}

// Arm returns the result of an arm; nil if there is none.
func (r *Report) Arm(name string) *Result {
	i := slices.IndexFunc(r.Arms, func(a *Result) bool { return a.Name == name })
	if i < 0 {
		return nil
	}
	return r.Arms[i]
}

// Write writes results.json and the tables of README.md, which must have the markers if it exists.
func (r *Report) Write(dir string) error {
	if err := report.WriteJSON(filepath.Join(dir, resultsFile), r); err != nil {
		return err
	}
	return report.UpdatePage(filepath.Join(dir, "README.md"), report.Section{Name: "results", Text: r.tables()})
}

func machine() string {
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), report.Processor(), runtime.GOOS)
}
