package consume_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/consume"
)

func TestBackoffGrowsToItsLongestAndNeverStops(t *testing.T) {
	t.Parallel()
	const longest, most = time.Second, 1500 * time.Millisecond
	pauses := consume.NewBackoff(longest)
	if first := pauses.NextBackOff(); first < 50*time.Millisecond || first > 150*time.Millisecond {
		t.Errorf("first pause %v; want 100ms with a jitter of half", first)
	}
	for range 1000 {
		if d := pauses.NextBackOff(); d <= 0 || d > most {
			t.Fatalf("pause %v; want a positive one up to %v", d, most)
		}
	}
	if last := pauses.NextBackOff(); last < longest/2 {
		t.Errorf("pause %v after 1000; want at least %v", last, longest/2)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{nats.ErrTimeout, false},
		{&jetstream.APIError{Code: 400}, true},
		{fmt.Errorf("create consumer: %w", &jetstream.APIError{Code: 403}), true},
		{jetstream.ErrStreamNotFound, false},
		{&jetstream.APIError{Code: 404}, false},
		{&jetstream.APIError{Code: 408}, false},
		{&jetstream.APIError{Code: 503}, false},
		{jetstream.ErrNotPullConsumer, true},
	} {
		if got := consume.Refused(c.err); got != c.want {
			t.Errorf("Refused(%v) = %v; want %v", c.err, got, c.want)
		}
	}
}
