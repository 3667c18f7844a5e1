package staleness

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A Report is all that is known: results.json. Its arms may come from several runs, each says how long and with what seed.
type Report struct {
	Machine  string    `json:"machine"`
	Versions string    `json:"versions"`
	Config   Config    `json:"config"` // of the last run
	Arms     []*Result `json:"arms"`
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
		return nil, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

// Add puts the result of an arm in the place of an earlier one. order are the names of all arms.
func (r *Report) Add(one *Result, cfg Config, order []string) {
	r.Machine, r.Versions, r.Config = machine(), one.Versions, cfg
	r.Arms = slices.DeleteFunc(r.Arms, func(a *Result) bool { return a.Name == one.Name })
	r.Arms = append(r.Arms, one)
	slices.SortFunc(r.Arms, func(a, b *Result) int { return slices.Index(order, a.Name) - slices.Index(order, b.Name) })
}

// Arm returns a result by name, nil if there is none.
func (r *Report) Arm(name string) *Result {
	for _, a := range r.Arms {
		if a.Name == name {
			return a
		}
	}
	return nil
}

const (
	beginTable = "<!-- results -->"
	endTable   = "<!-- end of results -->"
)

// Write puts the numbers into results.json and the tables between the markers of README.md.
func (r *Report) Write(dir string) error {
	data, err := json.MarshalIndent(r, "", "\t")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, resultsFile), append(data, '\n'), 0o644) // #nosec G306 -- to be read
	}
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	path := filepath.Join(dir, "README.md")
	text, err := os.ReadFile(path) // #nosec G304 -- where the caller wants it
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	before, rest, ok := strings.Cut(string(text), beginTable)
	_, after, both := strings.Cut(rest, endTable)
	if !ok || !both {
		return fmt.Errorf("write report: %s has no %s or no %s", path, beginTable, endTable)
	}
	page := before + beginTable + "\n\n" + r.tables() + "\n" + endTable + after
	if err := os.WriteFile(path, []byte(page), 0o644); err != nil { // #nosec G306 -- to be read
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// machine says what we run on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, rest, ok := strings.Cut(string(text), "model name"); ok {
			line, _, _ := strings.Cut(rest, "\n")
			model = strings.TrimLeft(line, "\t: ")
		}
	}
	return fmt.Sprintf("%d cores, %s, %s", runtime.NumCPU(), model, runtime.GOOS)
}

// loadAverage of the last minute, "" where that is not known.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(text), " ")
	return first
}
