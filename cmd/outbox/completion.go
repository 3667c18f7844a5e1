package main

import (
	"embed"
	"fmt"

	"github.com/urfave/cli/v2"
)

//go:embed completion/*.txt
var completionScripts embed.FS

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a shell's completion script", UsageText: "outbox completion --shell <bash|zsh|fish|powershell>",
		Description: `The script asks outbox itself, and so fits the version that is installed. What is no command and no flag is a file.

Examples:
  source <(outbox completion --shell bash)
  outbox completion --shell zsh > _outbox
  outbox completion --shell fish > outbox.fish
  outbox completion --shell powershell | head -1`,
		Flags:  []cli.Flag{&cli.StringFlag{Name: "shell", Usage: "`NAME`: bash, zsh, fish or powershell (required)"}},
		Action: completion,
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
	script, err := completionScripts.ReadFile("completion/" + shell + ".txt")
	if err != nil {
		return fmt.Errorf("make completion: %w", err)
	}
	if _, err := c.App.Writer.Write(script); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
