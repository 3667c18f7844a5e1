// Package arch has the tests of the architecture: which package may import which, and what it must not reach.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/seed-6eff6314/outbox-relay"

// Packages of the world, by prefix.
const (
	pgx     = "github.com/jackc/"
	nats    = "github.com/nats-io/"
	server  = "github.com/nats-io/nats-server/"
	redis   = "github.com/redis/"
	cli     = "github.com/urfave/"
	yaml    = "gopkg.in/yaml"
	plots   = "gonum.org/"
	hosted  = "github.com/" // whatever is not in the standard library
	signals = "os/signal"
)

// A room is a folder with Go files.
type room struct {
	may   []string // rooms of this module that its files import, beyond everybody
	never []string // prefixes of packages that it must not reach, directly or through another package
}

// everybody lists the rooms that every room may import.
var everybody = []string{"internal/wait"}

// rooms lists every folder with Go files. Tests may also import internal/devstack, internal/faultnet, internal/verify,
// internal/table/tabletest and what they test.
var rooms = map[string]room{
	"sql":                       {never: []string{hosted}},
	"outbox/event":              {may: []string{"internal/arena"}, never: []string{pgx, nats, redis, cli, yaml, signals}},
	"outbox":                    {may: []string{"outbox/event", "sql", "internal/sqlstate", "internal/pgtx"}, never: []string{nats, redis, cli, yaml, signals}},
	"internal/arena":            {never: []string{hosted}},
	"internal/sqlstate":         {never: []string{nats, redis, cli, yaml, signals}},
	"internal/pgtx":             {never: []string{nats, redis, cli, yaml, signals}},
	"internal/table":            {may: []string{"outbox", "outbox/event", "sql", "internal/arena", "internal/sqlstate"}, never: []string{nats, redis, cli, yaml, signals}},
	"internal/table/tabletest":  {may: []string{"outbox/event", "internal/table", "internal/devstack/devtest"}},
	"internal/jobs":             {may: []string{"outbox", "outbox/event", "sql", "internal/table", "internal/sqlstate"}, never: []string{nats, redis, cli, yaml, signals}},
	"internal/dead":             {may: []string{"outbox", "outbox/event", "sql", "internal/crash", "internal/table", "internal/sqlstate"}, never: []string{redis, cli, yaml, server, signals}},
	"internal/stream":           {may: []string{"outbox/event", "internal/table"}, never: []string{redis, cli, server, signals}},
	"internal/audit":            {may: []string{"outbox", "outbox/event", "sql", "internal/crash", "internal/dead", "internal/stream", "internal/table", "internal/sqlstate"}, never: []string{redis, cli, server, signals}},
	"internal/doctor":           {may: []string{"outbox", "sql", "internal/table"}, never: []string{redis, cli, server, signals}},
	"internal/roles":            {may: []string{"outbox", "sql", "internal/pgtx"}, never: []string{nats, redis, cli, yaml, signals}},
	"relay":                     {may: []string{"outbox", "outbox/event", "internal/crash", "internal/stream", "internal/table"}, never: []string{redis, cli, server, signals}},
	"internal/consume":          {never: []string{pgx, redis, cli, server, signals}},
	"invalidate":                {may: []string{"internal/consume", "outbox/event", "invalidate/rules", "internal/crash", "internal/slot"}, never: []string{pgx, cli, server, signals}},
	"invalidate/rules":          {may: []string{"outbox/event"}, never: []string{pgx, nats, redis, cli, signals}},
	"invalidate/fill":           {may: []string{"internal/slot"}, never: []string{pgx, nats, cli, signals}},
	"invalidate/local":          {may: []string{"internal/consume", "outbox/event", "invalidate/rules"}, never: []string{pgx, cli, redis, server, signals}},
	"invalidate/replicas":       {may: []string{"sql"}, never: []string{nats, redis, cli, yaml, signals}},
	"internal/slot":             {never: []string{hosted}},
	"internal/wait":             {never: []string{hosted}},
	"internal/crash":            {},
	"internal/health":           {may: []string{"internal/table"}, never: []string{cli, nats, redis}},
	"internal/devstack":         {may: []string{"internal/child"}, never: []string{cli}},
	"internal/devstack/devtest": {may: []string{"internal/devstack", "internal/faultnet", "internal/tlstest"}},
	"internal/faultnet":         {},
	"internal/tlstest":          {never: []string{hosted}},
	"internal/verify":           {may: []string{"outbox/event", "internal/table"}},
	"internal/demo":             {may: []string{"internal/child", "internal/report", "outbox", "outbox/event", "relay", "invalidate", "invalidate/rules", "internal/devstack", "internal/table", "internal/verify"}, never: []string{cli}},
	"internal/bench":            {may: []string{"internal/audit", "internal/child", "internal/report", "outbox", "outbox/event", "relay", "invalidate", "invalidate/rules", "internal/jobs", "internal/table"}, never: []string{cli, plots, server}},
	"internal/bench/dev":        {may: []string{"internal/bench", "internal/child", "internal/devstack"}, never: []string{cli, plots}},
	"internal/bench/peers":      {may: []string{"internal/bench", "internal/bench/dev"}}, // a module of its own
	"internal/staleness":        {may: []string{"internal/child", "internal/report", "outbox", "outbox/event", "invalidate/fill", "internal/devstack", "internal/faultnet", "internal/table"}, never: []string{cli}},
	"internal/faults":           {may: []string{"relay", "internal/child", "internal/report"}},
	"internal/relaytest":        {may: []string{"outbox", "outbox/event", "relay", "internal/devstack", "internal/devstack/devtest", "internal/table", "internal/verify"}}, // tests only
	"internal/child":            {never: []string{hosted}},
	"internal/report":           {},
	"internal/arch":             {},
	// a module of its own
	"internal/figures/plots":            {},
	"internal/figures/benchfigures":     {may: []string{"internal/bench", "internal/figures/plots"}},
	"internal/figures/stalenessfigures": {may: []string{"internal/staleness", "internal/figures/plots"}},
	"internal/figures/bench":            {may: []string{"internal/child", "internal/bench", "internal/bench/dev", "internal/figures/benchfigures"}},
	"internal/figures/staleness":        {may: []string{"internal/staleness", "internal/figures/stalenessfigures"}},
	"internal/figures/retention":        {may: []string{"internal/report", "internal/figures/plots"}},
	"internal/cli/redact":               {never: []string{nats, redis, cli, signals}},
	"internal/cli/exit":                 {may: []string{"internal/cli/redact", "internal/sqlstate"}, never: []string{server, plots, signals}},
	"internal/cli/term":                 {may: []string{"internal/cli/exit", "internal/cli/redact"}, never: []string{server, plots, signals}},
	"internal/cli/setting":              {may: []string{"internal/cli/exit", "internal/cli/redact", "internal/cli/term"}, never: []string{server, plots, signals}},
	"internal/cli/help":                 {may: []string{"internal/cli/setting", "internal/cli/term"}, never: []string{server, plots, signals}},
	"internal/cli/dial":                 {may: []string{"internal/cli/exit", "internal/cli/redact", "internal/cli/setting"}, never: []string{server, plots, signals}},
	"internal/cli/probe":                {may: []string{"internal/cli/redact"}, never: []string{cli, server, plots, signals}},
	"internal/cli/metrics":              {may: []string{"relay", "invalidate", "internal/table"}, never: []string{cli, server, plots, signals}},
	"internal/cli/app":                  {may: []string{"internal/cli/exit", "internal/cli/help"}, never: []string{server, plots, signals}},
	"internal/cli/measure":              {may: []string{"internal/bench", "internal/cli/exit", "internal/cli/setting", "internal/cli/term"}, never: []string{server, plots, signals}},
	"internal/cli/clitest":              {}, // tests only
	"cmd/outbox-dev":                    {may: []string{"internal/child", "internal/cli/app", "internal/cli/dial", "internal/cli/exit", "internal/cli/help", "internal/cli/measure", "internal/cli/redact", "internal/cli/setting", "internal/cli/term", "internal/bench/dev", "internal/demo", "internal/devstack"}},
	"cmd/outbox": {may: []string{"internal/cli/app", "internal/cli/measure", "internal/cli/dial", "internal/cli/exit", "internal/cli/help", "internal/cli/metrics", "internal/cli/probe", "internal/cli/redact", "internal/cli/setting", "internal/cli/term",
		"outbox", "outbox/event", "relay", "invalidate", "invalidate/replicas", "invalidate/rules", "internal/audit", "internal/bench", "internal/dead", "internal/stream",
		"internal/doctor", "internal/health", "internal/jobs", "internal/roles", "internal/sqlstate", "internal/table"}, never: []string{server, plots}},
}

// testRooms may be imported by the tests of every room.
var testRooms = []string{"internal/devstack", "internal/devstack/devtest", "internal/cli/clitest", "internal/faultnet", "internal/relaytest", "internal/sqlstate", "internal/tlstest", "internal/verify", "internal/table/tabletest"}

// suites are rooms whose tests import more.
var suites = map[string][]string{
	"internal/faults": {"outbox", "outbox/event", "invalidate", "internal/dead", "internal/jobs", "internal/sqlstate", "internal/table"},
	"internal/roles":  {"outbox/event", "internal/dead", "internal/doctor", "internal/jobs", "internal/sqlstate", "internal/table"},
	"internal/jobs":   {"internal/dead"},
	"outbox":          {"internal/table"},
	"internal/audit":  {"relay"},
	"invalidate":      {"internal/dead", "internal/table"},
}

// TestArrows checks every import in every file, tests and files for other systems included.
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
		r, ok := rooms[folder]
		if !ok {
			t.Errorf("%s: folder %s is not in the table of rooms; add it to arch_test.go or move the file", rel, folder)
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		may := slices.Concat(everybody, r.may)
		if strings.HasSuffix(file, "_test.go") {
			may = slices.Concat(may, testRooms, suites[folder], []string{folder})
		}
		for _, spec := range parsed.Imports {
			name, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(name, module+"/"); ok && !slices.Contains(may, own) {
				t.Errorf("%s imports %s, which %s must not", rel, own, folder)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for folder := range rooms {
		if !seen[folder] {
			t.Errorf("folder %s is in the table of rooms and does not exist", folder)
		}
	}
}

// TestReach checks what each room reaches through all of its imports, without tests.
func TestReach(t *testing.T) {
	imports := graph(t)
	for folder, r := range rooms {
		for _, prefix := range r.never {
			if way := reach(imports, module+"/"+folder, prefix); way != nil {
				t.Errorf("%s must not reach %s: %s", folder, prefix, strings.Join(way, " → "))
			}
		}
	}
}

// graph returns what each package imports, for all packages that this module needs.
func graph(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", `{{.ImportPath}}{{range .Imports}} {{.}}{{end}}`, "./...")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	imports := make(map[string][]string)
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		imports[fields[0]] = fields[1:]
	}
	return imports
}

// reach returns the shortest way from a package to one with a prefix; nil if there is none.
func reach(imports map[string][]string, from, prefix string) []string {
	ways := [][]string{{from}}
	seen := map[string]bool{from: true}
	for len(ways) > 0 {
		way := ways[0]
		ways = ways[1:]
		for _, next := range imports[way[len(way)-1]] {
			if seen[next] {
				continue
			}
			seen[next] = true
			longer := slices.Concat(way, []string{next})
			if strings.HasPrefix(next, prefix) && !strings.HasPrefix(next, module) {
				return longer
			}
			ways = append(ways, longer)
		}
	}
	return nil
}
