package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// What a child serves.
const (
	serveNATS    = "nats"
	serveCluster = "nats-cluster"
)

// serveVariable is the environment variable that makes a process a child; its value is what the child serves.
const serveVariable = "OUTBOX_BENCH_SERVE"

// Serving returns what this process must serve, for Serve; empty if it is no child.
func Serving() string { return os.Getenv(serveVariable) }

// Serve is the child's side of Start. It starts a NATS server, or a cluster of three, writes its URL as one line to out, and
// stops it when ctx or in ends; in ends when the parent closes it or dies.
func Serve(ctx context.Context, kind string, in io.Reader, out io.Writer) error {
	server, err := start(kind)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, server.URL())
	ended := make(chan struct{})
	go func() { // ends with the process, if not before
		defer close(ended)
		_, _ = io.Copy(io.Discard, in) // an error ends it as well
	}()
	if err == nil {
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	return errors.Join(err, server.Close())
}

// A natsServer is one server or a cluster.
type natsServer interface {
	URL() string
	Close() error
}

// start starts a server of a kind in this process.
func start(kind string) (natsServer, error) {
	switch kind {
	case serveNATS:
		return devstack.StartNATS(devstack.NATSConfig{})
	case serveCluster:
		return devstack.StartNATSCluster(devstack.NATSClusterConfig{})
	default:
		return nil, fmt.Errorf("$%s=%q: want %s or %s", serveVariable, kind, serveNATS, serveCluster)
	}
}
