// Package report writes what a measurement found: results as JSON, Markdown tables between the markers of a page, and the
// machine and servers that the figures belong to.
package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ReadJSON decodes a file into v. A missing file leaves v unchanged and is no error.
func ReadJSON(path string, v any) error {
	data, err := os.ReadFile(path) // #nosec G304 -- the caller chooses the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, v)
	}
	if err != nil {
		return fmt.Errorf("read results from %s: %w", path, err)
	}
	return nil
}

// WriteJSON encodes v into a file, indented by one space.
func WriteJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err == nil {
		err = os.WriteFile(path, append(data, '\n'), 0o644) // #nosec G306 -- results are public
	}
	if err != nil {
		return fmt.Errorf("write results to %s: %w", path, err)
	}
	return nil
}

// A Section is the part of a page between the markers <!-- Name --> and <!-- end of Name -->.
type Section struct{ Name, Text string }

// UpdatePage replaces sections of a page. It returns an error and changes nothing if a marker is missing. A missing page is
// no error.
func UpdatePage(path string, sections ...Section) error {
	data, err := os.ReadFile(path) // #nosec G304 -- the caller chooses the file
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	page := string(data)
	for _, s := range sections {
		if err == nil {
			page, err = s.replace(page)
		}
	}
	if err == nil {
		err = os.WriteFile(path, []byte(page), 0o644) // #nosec G306 -- results are public
	}
	if err != nil {
		return fmt.Errorf("write tables into %s: %w", path, err)
	}
	return nil
}

func (s Section) replace(page string) (string, error) {
	begin, end := "<!-- "+s.Name+" -->", "<!-- end of "+s.Name+" -->"
	before, rest, hasBegin := strings.Cut(page, begin)
	_, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		return "", fmt.Errorf("want the markers %s and %s", begin, end)
	}
	return before + begin + "\n\n" + strings.TrimSpace(s.Text) + "\n\n" + end + after, nil
}
