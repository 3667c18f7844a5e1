package main

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

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// A readiness is what /readyz answers, with 200 when ready and 503 when not.
type readiness struct {
	Ready  bool              `json:"ready"`
	Role   string            `json:"role,omitempty"`
	Checks map[string]string `json:"checks"` // what was looked at: ok, or why not
}

// probes serves /livez (the process runs), /readyz and /metrics.
type probes struct {
	server http.Server
	done   chan error // what Serve returned
}

// serveProbes listens on an address; an empty one means that nothing is served. It is not ready any more when ctx
// ends, and serves until the caller closes it.
func serveProbes(ctx context.Context, address string, ready func(context.Context) readiness, metrics []prometheus.Collector, log *slog.Logger) (*probes, error) {
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
	p := &probes{done: make(chan error, 1), server: http.Server{
		Handler:           probeRoutes(untilStopping(ctx, ready), metrics),
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      30 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
	log.Info("serving /livez /readyz /metrics", "address", listener.Addr().String())
	go func() { p.done <- p.server.Serve(listener) }()
	return p, nil
}

// close waits for requests in hand, a second at most.
func (p *probes) close() error {
	if p == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		p.server.Close() //nolint:errcheck // the requests are lost either way
	}
	if err := <-p.done; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve probes: %w", err)
	}
	return nil
}

func probeRoutes(ready func(context.Context) readiness, metrics []prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics...)
	registry.MustRegister(newBuildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]bool{"live": true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := within(r.Context())
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
	json.NewEncoder(w).Encode(body) //nolint:errcheck // who asked is gone
}

// untilStopping tells whoever sends work that this process is about to end.
func untilStopping(stopping context.Context, ready func(context.Context) readiness) func(context.Context) readiness {
	return func(ctx context.Context) readiness {
		if stopping.Err() != nil {
			return judge("stopping", map[string]string{"work": "finishing what is in hand"})
		}
		return ready(ctx)
	}
}

// judge fills in Ready: everything that was looked at is ok.
func judge(role string, checks map[string]string) readiness {
	r := readiness{Ready: true, Role: role, Checks: checks}
	for _, state := range checks {
		r.Ready = r.Ready && strings.HasPrefix(state, stateOK)
	}
	return r
}

// okOr words the outcome of one look.
func okOr(err error) string {
	if err == nil {
		return stateOK
	}
	return redact(err.Error())
}
