// Package probe serves what watches a long-running command: /livez, /readyz and /metrics.
package probe

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
)

// OK begins the state of a check that passed.
const OK = "ok"

// checkTimeout bounds the checks of one request of /readyz.
const checkTimeout = 5 * time.Second

// A Readiness is the body of /readyz, with status 200 if Ready and 503 if not.
type Readiness struct {
	Ready  bool              `json:"ready"`
	Role   string            `json:"role,omitempty"`
	Checks map[string]string `json:"checks"` // ok, or what is wrong
}

// Of is ready if every check begins with OK. role may be empty.
func Of(role string, checks map[string]string) Readiness {
	r := Readiness{Ready: true, Role: role, Checks: checks}
	for _, state := range checks {
		r.Ready = r.Ready && strings.HasPrefix(state, OK)
	}
	return r
}

// Error is the state of a check that returned err.
func Error(err error) string {
	if err == nil {
		return OK
	}
	return redact.Text(err.Error())
}

// NATS is the state of a connection.
func NATS(nc *nats.Conn) string {
	if nc.IsConnected() {
		return OK
	}
	return nc.Status().String()
}

// A Server serves until Close.
type Server struct {
	server http.Server
	done   chan error // the result of Serve
}

// Serve listens on address; :port means 127.0.0.1:port. An empty address serves nothing: the Server is nil, and Close
// does nothing. Once ctx ends, /readyz answers that the process is stopping.
func Serve(ctx context.Context, address string, ready func(context.Context) Readiness, metrics []prometheus.Collector, log *slog.Logger) (*Server, error) {
	if address == "" {
		return nil, nil
	}
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve probes: %w", err)
	}
	s := &Server{done: make(chan error, 1), server: http.Server{
		Handler:           routes(untilStopping(ctx, ready), metrics),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	log.Info("serving /livez /readyz /metrics", "address", listener.Addr().String())
	go func() { s.done <- s.server.Serve(listener) }()
	return s, nil
}

// Close waits for running requests, at most a second.
func (s *Server) Close() error {
	if s == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.server.Close() //nolint:errcheck // the requests are lost either way
	}
	if err := <-s.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes: %w", err)
	}
	return nil
}

func routes(ready func(context.Context) Readiness, metrics []prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics...)
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"live": true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), checkTimeout)
		defer cancel()
		state := ready(ctx)
		status := http.StatusOK
		if !state.Ready {
			status = http.StatusServiceUnavailable
		}
		answer(w, status, state)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError}))
	return mux
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body) //nolint:errcheck // the client has gone
}

// untilStopping makes a process that is stopping not ready, so that nothing sends it more work.
func untilStopping(stopping context.Context, ready func(context.Context) Readiness) func(context.Context) Readiness {
	return func(ctx context.Context) Readiness {
		if stopping.Err() != nil {
			return Of("stopping", map[string]string{"work": "finishing work in hand"})
		}
		return ready(ctx)
	}
}
