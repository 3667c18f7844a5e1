package main

import (
	"context"
	"log/slog"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// newLogger writes to standard error as the settings say.
func newLogger(c *cli.Context, s settings) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.text("log_level"))); err != nil {
		level = slog.LevelInfo // only an empty value gets here
	}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	format := s.text("log_format")
	if file, ok := c.App.ErrWriter.(*os.File); format == "text" || format == "auto" && ok && term.IsTerminal(int(file.Fd())) {
		return slog.New(slog.NewTextHandler(c.App.ErrWriter, options))
	}
	return slog.New(slog.NewJSONHandler(c.App.ErrWriter, options))
}

// redactAttr hides secrets in whatever is logged, the errors of libraries first of all.
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		a.Value = slog.StringValue(redact(v))
	case error:
		a.Value = slog.StringValue(redact(v.Error()))
	}
	return a
}

// announceStop logs the end of ctx, for whoever waits for the process; the caller calls what it returns.
func announceStop(ctx context.Context, log *slog.Logger, grace time.Duration) (forget func() bool) {
	return context.AfterFunc(ctx, func() {
		log.Info("stopping: finishing what is in hand; a second signal ends it at once", "grace", grace.String())
	})
}
