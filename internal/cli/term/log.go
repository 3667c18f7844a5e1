package term

import (
	"io"
	"log/slog"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
)

// Logger returns a logger that writes to w without passwords and tokens. format is text, json, or auto, which is text
// on a terminal and JSON elsewhere. level is debug, info, warn or error; anything else means info.
func Logger(w io.Writer, format, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: redact.Attr}
	if _, terminal := IsTerminal(w); format == "text" || format == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}
