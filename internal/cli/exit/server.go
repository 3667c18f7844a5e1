package exit

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

// Names of the servers, in errors, reports and --skip.
const (
	Postgres = "postgres"
	NATS     = "nats"
	Redis    = "redis"
)

var urlSetting = map[string]string{Postgres: "database_url", NATS: "nats_url", Redis: "redis_url"}

// A serverError names the server that an error came from.
type serverError struct {
	server string
	err    error
}

func (e *serverError) Error() string { return "reach " + e.server + ": " + e.err.Error() }
func (e *serverError) Unwrap() error { return e.err }

// Unreached marks err as the error of a connection to a server: Postgres, NATS, Redis, or another name for a person.
func Unreached(server string, err error) error { return &serverError{server, err} }

// IsUnreached reports whether Unreached marked the error.
func IsUnreached(err error) bool {
	_, ok := errors.AsType[*serverError](err)
	return ok
}

// IsUnavailable reports whether a server did not answer, or answered that it cannot serve yet. Trying again later can
// help, which it cannot after a refusal.
func IsUnavailable(err error) bool {
	if errors.Is(err, context.Canceled) || tlsRefused(err) {
		return false
	}
	if code := sqlstate.Of(err); code != "" {
		return slices.Contains([]string{sqlstate.AdminShutdown, sqlstate.CrashShutdown, sqlstate.CannotConnectNow, sqlstate.TooManyConnections}, code)
	}
	if errors.Is(err, nats.ErrAuthorization) || errors.Is(err, nats.ErrAuthExpired) || errors.Is(err, nats.ErrAuthRevoked) {
		return false
	}
	if IsRedisRefusal(err) {
		return false
	}
	if answer, ok := errors.AsType[jetstream.JetStreamError](err); ok && answer.APIError() != nil && answer.APIError().Code != http.StatusServiceUnavailable {
		return false
	}
	if IsUnreached(err) {
		return true
	}
	_, ok := errors.AsType[*pgconn.ConnectError](err)
	return ok
}

// IsRedisRefusal reports whether Redis answered with an error that will not go away by waiting, unlike LOADING.
func IsRedisRefusal(err error) bool {
	reply, ok := errors.AsType[redis.Error](err)
	if !ok {
		return false
	}
	for _, temporary := range []string{"LOADING ", "MASTERDOWN ", "CLUSTERDOWN ", "TRYAGAIN "} {
		if strings.HasPrefix(reply.Error(), temporary) {
			return false
		}
	}
	return true
}

// tlsRefused reports whether a TLS handshake failed: the server is there, but one side does not accept the other.
func tlsRefused(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok || errors.Is(err, nats.ErrTLS) || errors.Is(err, nats.ErrSecureConnWanted)
}
