package term

import (
	"io"
	"log/slog"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
)

// Logger returns a logger that writes to w without passwords and tokens. format is text, json, or auto, which is text
// on a terminal and JSON elsewhere. Durations are texts such as 1.2s in both. level is debug, info, warn or error;
// anything else means info.
func Logger(w io.Writer, format, level string) *slog.Logger {
	var least slog.Level
	if err := least.UnmarshalText([]byte(level)); err != nil {
		least = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: least, ReplaceAttr: attr}
	if _, terminal := IsTerminal(w); format == "text" || format == "auto" && terminal {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// attr redacts secrets, and writes a duration as text: JSON would have nanoseconds.
func attr(groups []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		return slog.String(a.Key, a.Value.Duration().String())
	}
	return redact.Attr(groups, a)
}
