package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/app"
)

// walk calls do with every command, groups too, and its path.
func walk(path string, commands []*cli.Command, do func(path string, c *cli.Command)) {
	for _, c := range commands {
		do(path+" "+c.Name, c)
		walk(path+" "+c.Name, c.Subcommands, do)
	}
}

// A real bash, with the script that users load, completes every command and every flag.
func TestBashCompletesEverything(t *testing.T) {
	t.Parallel()
	var asked []string
	var want [][]string
	outbox := newApp()
	walk("outbox", outbox.Commands, func(path string, c *cli.Command) {
		if len(c.Subcommands) > 0 {
			asked, want = append(asked, path+" "), append(want, app.Names(c.Subcommands))
			return
		}
		var flags []string
		for _, f := range c.Flags {
			flags = append(flags, "--"+f.Names()[0])
		}
		asked, want = append(asked, path+" --"), append(want, flags)
	})
	asked, want = append(asked, "outbox "), append(want, app.Names(outbox.Commands))

	bash := exec.Command("bash", "--norc", "-c", `source <(outbox completion --shell bash)
		while IFS= read -r line; do
			IFS=' ' read -ra COMP_WORDS <<< "$line"
			[[ $line == *' ' ]] && COMP_WORDS+=('')
			COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
			"$(complete -p outbox | sed 's/.*-F \([^ ]*\) .*/\1/')"
			echo "${COMPREPLY[@]}"
		done`)
	bash.Env = append(os.Environ(), "PATH="+programFolder(t)+string(os.PathListSeparator)+os.Getenv("PATH"))
	bash.Stdin = strings.NewReader(strings.Join(asked, "\n") + "\n")
	out, err := bash.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != len(asked) {
		t.Fatalf("%d answers to %d questions:\n%s", len(answers), len(asked), out)
	}
	for i, answer := range answers {
		offered := strings.Fields(answer)
		for _, word := range want[i] {
			if !slices.Contains(offered, word) {
				t.Errorf("%q: %q is not offered: %s", asked[i], word, answer)
			}
		}
	}
}

// programFolder holds this test binary by the name of outbox.
func programFolder(t testing.TB) string {
	t.Helper()
	self, err := os.Executable()
	folder := t.TempDir()
	if err == nil {
		err = os.Symlink(self, filepath.Join(folder, "outbox"))
	}
	if err != nil {
		t.Fatal(fmt.Errorf("name this binary outbox: %w", err))
	}
	return folder
}
