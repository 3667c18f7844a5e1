// Package consume holds what every consumer of the stream needs while a server does not answer: the pauses between
// attempts, and the errors after which another attempt is useless.
package consume

import (
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
)

// NewBackoff returns the pauses of a loop that never gives up: from 100 ms to longest, each with the default jitter of
// package backoff. It belongs to one goroutine.
func NewBackoff(longest time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond),
		backoff.WithMaxInterval(longest),
		backoff.WithMaxElapsedTime(0))
}

// Refused reports whether the server would answer the same request with the same error: a 4xx code of the JetStream API
// other than 404 (a stream or consumer can still appear) and 408 (a timeout), or a consumer that is not a pull consumer.
func Refused(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code >= 400 && api.Code < 500 && api.Code != 404 && api.Code != 408 ||
		errors.Is(err, jetstream.ErrNotPullConsumer)
}
