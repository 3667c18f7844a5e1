// Package arch holds the test that keeps the arrows of the house: who may import whom.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/seed-6eff6314/outbox-relay"

// rooms: each folder with Go files, what of the module it may import, and what it must not import of the world.
// Tests may also use internal/devstack, internal/faultnet, internal/verify and what they test.
var rooms = map[string]struct{ may, not []string }{
	"sql":                        {not: []string{"github.com/"}},
	"outbox":                     {may: []string{"sql"}, not: []string{"github.com/nats-io/", "github.com/redis/", "github.com/urfave/", "os/signal"}},
	"relay":                      {may: []string{"outbox", "internal/crash"}, not: []string{"github.com/redis/", "github.com/urfave/", "github.com/nats-io/nats-server/", "os/signal"}},
	"invalidate/rules":           {may: []string{"outbox"}, not: []string{"github.com/nats-io/", "github.com/redis/", "github.com/urfave/", "os/signal"}},
	"invalidate/fill":            {may: []string{"internal/slot"}, not: []string{"github.com/jackc/", "github.com/nats-io/", "github.com/urfave/", "os/signal"}},
	"invalidate/local":           {may: []string{"outbox", "invalidate/rules", "internal/consume"}, not: []string{"github.com/urfave/", "github.com/redis/", "github.com/nats-io/nats-server/", "os/signal"}},
	"internal/slot":              {not: []string{"github.com/"}},
	"internal/staleness":         {may: []string{"outbox", "invalidate/fill", "internal/devstack", "internal/faultnet"}, not: []string{"github.com/urfave/", "os/signal"}},
	"internal/staleness/figures": {may: []string{"internal/plots", "internal/staleness"}},
	"internal/staleness/run":     {may: []string{"internal/staleness", "internal/staleness/figures"}},
	"invalidate":                 {may: []string{"outbox", "invalidate/rules", "internal/consume", "internal/crash", "internal/slot"}, not: []string{"github.com/jackc/", "github.com/urfave/", "github.com/nats-io/nats-server/", "os/signal"}},
	"internal/devstack":          {not: []string{"github.com/urfave/"}},
	"internal/devstack/devtest":  {may: []string{"internal/devstack"}},
	"internal/devstack/servers":  {may: []string{"internal/devstack"}},
	"internal/demo":              {may: []string{"outbox", "relay", "invalidate", "invalidate/rules", "internal/devstack", "internal/verify"}, not: []string{"github.com/urfave/", "os/signal"}},
	"cmd/outbox":                 {may: []string{"outbox", "relay", "invalidate", "invalidate/rules", "internal/bench", "internal/demo", "internal/health"}},
	"internal/bench":             {may: []string{"outbox", "relay", "invalidate", "invalidate/rules", "internal/devstack"}, not: []string{"github.com/urfave/", "os/signal", "gonum.org/"}},
	"internal/bench/figures":     {may: []string{"internal/bench", "internal/plots"}},
	"internal/bench/peers":       {may: []string{"internal/bench"}}, // a module of its own
	"internal/bench/run":         {may: []string{"internal/bench", "internal/bench/figures"}},
	"internal/consume":           {not: []string{"github.com/jackc/", "github.com/redis/", "github.com/urfave/", "github.com/nats-io/nats-server/", "os/signal"}},
	"internal/crash":             {},
	"internal/health":            {may: []string{"outbox"}, not: []string{"github.com/urfave/", "github.com/nats-io/"}},
	"internal/faultnet":          {},
	"internal/faults":            {may: []string{"relay", "internal/plots"}},
	"internal/plots":             {},
	"internal/verify":            {may: []string{"outbox"}},
	"internal/arch":              {},
	"internal/wait":              {not: []string{"github.com/"}},
}

func TestArrows(t *testing.T) {
	root := filepath.Join("..", "..")
	seen := make(map[string]bool)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, ".go") {
			if d != nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "examples") {
				return fs.SkipDir
			}
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		folder := path.Dir(filepath.ToSlash(rel))
		seen[folder] = true
		room, ok := rooms[folder]
		if !ok {
			t.Errorf("%s: folder %s has no place in the house; give it one in arch_test.go or move the file", rel, folder)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		isTest := strings.HasSuffix(file, "_test.go")
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			check(t, rel, folder, name, room.may, room.not, isTest)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range rooms {
		if !seen[folder] {
			t.Errorf("folder %s is in the table and not in the house", folder)
		}
	}
}

func check(t *testing.T, file, folder, name string, may, not []string, isTest bool) {
	t.Helper()
	if own, ok := strings.CutPrefix(name, module+"/"); ok {
		switch {
		case slices.Contains(may, own), own == "internal/wait":
		case isTest && (own == folder || strings.HasPrefix(own, "internal/devstack") || own == "internal/faultnet" || own == "internal/verify" || folder == "internal/faults" && (own == "outbox" || own == "invalidate")):
		default:
			t.Errorf("%s imports %s, which %s must not", file, own, folder)
		}
		return
	}
	if isTest {
		return
	}
	for _, prefix := range not {
		if strings.HasPrefix(name, prefix) {
			t.Errorf("%s imports %s, which %s must not", file, name, folder)
		}
	}
}
