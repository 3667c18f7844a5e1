package main

import (
	"embed"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

//go:embed completion/*.txt
var completionScripts embed.FS

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a shell's completion script", UsageText: "outbox completion --shell <bash|zsh|fish|powershell>",
		Description: "Examples:\n  source <(outbox completion --shell bash)\n  outbox completion --shell fish > ~/.config/fish/completions/outbox.fish",
		Flags:       []cli.Flag{&cli.StringFlag{Name: "shell", Usage: "`NAME`: bash, zsh, fish or powershell (required)"}},
		Action:      completion,
	}
}

func completion(c *cli.Context) error {
	if err := required(c, "shell"); err != nil {
		return err
	}
	shell := c.String("shell")
	if err := oneOf("bash", "zsh", "fish", "powershell")(shell); err != nil {
		return usagef(c, "flag --shell %q: %w", shell, err)
	}
	var script string
	if shell == "fish" {
		text, err := c.App.ToFishCompletion()
		if err != nil {
			return fmt.Errorf("make completion: %w", err)
		}
		script = text
	} else {
		text, err := completionScripts.ReadFile("completion/" + shell + ".txt")
		if err != nil {
			return fmt.Errorf("make completion: %w", err)
		}
		script = string(text)
	}
	_, err := io.WriteString(c.App.Writer, script)
	return err
}
