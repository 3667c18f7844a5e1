package child

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/seed-6eff6314/outbox-relay"

// Build compiles a package with go build into a folder and returns the path of the program, which has the last element of
// the package's path as its name. The package must belong to this module or to one that it requires. flags are passed to go
// build.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	program, err := filepath.Abs(filepath.Join(dir, path.Base(strings.TrimSuffix(pkg, "/v2"))))
	if err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	// The working folder may belong to another module, which has no sums of what the package requires.
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("build %s: find the module %s: %w", pkg, module, err)
	}
	args := slices.Concat([]string{"build", "-o", program}, flags, []string{pkg})
	cmd := exec.CommandContext(ctx, "go", args...) // #nosec G204 -- packages that this module names
	cmd.Dir = strings.TrimSpace(string(root))
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w: %s", pkg, err, out)
	}
	return program, nil
}

// Environ returns the environment of this process without the settings of outbox (OUTBOX_…), followed by env. A child
// that gets it depends on no setting but those in env.
func Environ(env ...string) []string {
	isSetting := func(entry string) bool { return strings.HasPrefix(entry, "OUTBOX_") }
	return append(slices.DeleteFunc(os.Environ(), isSetting), env...)
}
