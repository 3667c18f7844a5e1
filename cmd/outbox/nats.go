package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// dialNATS connects for one question: it does not try again, and fails when no server answers.
func dialNATS(s settings, name string) (*nats.Conn, jetstream.JetStream, error) {
	return connectNATS(s, nats.Name(name), nats.NoReconnect())
}

// keepNATS connects for a long run: it returns at once, connects when it can, and again whenever it was cut off.
// Nothing is buffered meanwhile: what publishes has to know that it did not.
func keepNATS(s settings, name string, log *slog.Logger) (*nats.Conn, jetstream.JetStream, error) {
	return connectNATS(s, nats.Name(name),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("nats connected", "url", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats connected again", "url", nc.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				log.Warn("nats connection lost", "err", redact(err.Error()))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("nats reports", "err", redact(err.Error()))
		}),
	)
}

func connectNATS(s settings, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	options = append(options, nats.Timeout(connectTimeout))
	if file := s.text("nats_creds"); file != "" {
		if _, err := os.Stat(file); err != nil {
			return nil, nil, usagef(nil, "%s: %w", s.origin("nats_creds").from, err)
		}
		options = append(options, nats.UserCredentials(file))
	}
	nc, err := nats.Connect(s.text("nats_url"), options...)
	if err != nil {
		if _, ok := errors.AsType[*url.Error](err); ok || strings.TrimSpace(s.text("nats_url")) == "" {
			return nil, nil, badURL(s, "nats_url", "nats://host:4222, several joined by commas")
		}
		return nil, nil, &serverError{natsServer, err}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use jetstream: %w", err)
	}
	return nc, js, nil
}
