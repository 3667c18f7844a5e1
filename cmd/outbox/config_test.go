package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWriteOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f.yaml")
	for _, step := range []struct {
		replace bool
		want    string
	}{{false, "1"}, {false, "1"}, {true, "3"}} {
		content := map[bool]string{false: "1", true: "3"}[step.replace]
		_ = writeOnce(path, content, step.replace)
		data, err := os.ReadFile(path)
		if err != nil || string(data) != step.want {
			t.Errorf("%q, %v, want %q", data, err, step.want)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}
