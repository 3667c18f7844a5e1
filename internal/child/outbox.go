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

// Build compiles a package with go build into a folder and returns the path of the program, which has the last element
// of the package's path as its name. flags are passed to go build.
func Build(ctx context.Context, dir, pkg string, flags ...string) (string, error) {
	program := filepath.Join(dir, path.Base(strings.TrimSuffix(pkg, "/v2")))
	args := slices.Concat([]string{"build", "-o", program}, flags, []string{pkg})
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput() // #nosec G204 -- packages that this module names
	if err != nil {
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
