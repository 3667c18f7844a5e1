package probe

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// /readyz answers 503 as soon as one check fails, and once the process is stopping; /livez and /metrics answer all the
// time.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	stopping, stop := context.WithCancel(t.Context())
	checks := map[string]string{"nats": OK, "stream": OK + ", paused"}
	requests := prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_test_total", Help: "A test."})
	handler := routes(untilStopping(stopping, func(context.Context) Readiness { return Of("leader", checks) }), []prometheus.Collector{requests})
	get := func(path string) (int, string) {
		t.Helper()
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
		return response.Code, response.Body.String()
	}
	expect := func(path string, wantCode int, want string) {
		t.Helper()
		if code, body := get(path); code != wantCode || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %d %s", path, code, body, wantCode, want)
		}
	}
	expect("/readyz", http.StatusOK, `"ready":true,"role":"leader"`)
	checks["nats"] = Error(errors.New("dial nats://app:s3cret@h"))
	expect("/readyz", http.StatusServiceUnavailable, "dial nats://app:xxxxx@h")
	checks["nats"] = OK
	stop()
	expect("/readyz", http.StatusServiceUnavailable, `"role":"stopping"`)
	expect("/livez", http.StatusOK, `"live":true`)
	expect("/metrics", http.StatusOK, "outbox_test_total 0")
}

// An empty address serves nothing, and Close is then harmless.
func TestNoAddress(t *testing.T) {
	s, err := Serve(t.Context(), "", nil, nil, slog.New(slog.DiscardHandler))
	if s != nil || err != nil || s.Close() != nil {
		t.Errorf("%v, %v", s, err)
	}
}

func TestServe(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	s, err := Serve(t.Context(), "127.0.0.1:0", func(context.Context) Readiness { return Of("", nil) }, nil, slog.New(slog.NewJSONHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(log.String()), &line); err != nil {
		t.Fatal(err)
	}
	response, err := http.Get("http://" + line.Address + "/readyz")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", response, err)
	}
	response.Body.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := http.Get("http://" + line.Address + "/livez"); err == nil {
		t.Error("it still serves after Close")
	}
}
