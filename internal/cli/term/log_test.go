package term

import (
	"strings"
	"testing"
	"time"
)

func TestLoggerWritesDurationsAsText(t *testing.T) {
	var out strings.Builder
	Logger(&out, "json", "").Info("waiting", "wait", 1200*time.Millisecond, "url", "nats://user:secret@host")
	if got := out.String(); !strings.Contains(got, `"wait":"1.2s"`) || strings.Contains(got, "secret") {
		t.Errorf("logged %s", got)
	}
}
