package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/child"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

const outboxPackage = "github.com/seed-6eff6314/outbox-relay/cmd/outbox"

func programFlag() cli.Flag {
	return &cli.PathFlag{Name: "outbox", Usage: "`PATH` of the program outbox", DefaultText: "the one beside outbox-dev, else go build makes one"}
}

// findOutbox returns the path of the program outbox: that of --outbox, else one in the folder of this program, else one that
// go build makes in a temporary folder. The caller must call remove, which deletes that folder and is never nil.
func findOutbox(c *cli.Context) (path string, remove func(), err error) {
	remove = func() {}
	if path := c.Path("outbox"); path != "" {
		if _, err := os.Stat(path); err != nil {
			return "", remove, exit.Usagef(c, "flag --outbox: %w", err)
		}
		return path, remove, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", remove, fmt.Errorf("find the program outbox: %w", err)
	}
	path = filepath.Join(filepath.Dir(self), "outbox")
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		return path, remove, nil
	}
	path, remove, err = buildOutbox(c.Context)
	if err != nil {
		return "", remove, fmt.Errorf("find the program outbox, which is not in %s: %w; name it with --outbox", filepath.Dir(self), err)
	}
	return path, remove, nil
}

func buildOutbox(ctx context.Context) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", "outbox-dev-")
	if err != nil {
		return "", func() {}, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // in the temporary folder
	path, err = child.Build(ctx, dir, outboxPackage, "-trimpath")
	return path, remove, err
}
