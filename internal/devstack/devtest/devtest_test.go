package devtest_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
)

func TestMain(m *testing.M) { devtest.Main(m) }

func TestNames(t *testing.T) {
	t.Parallel()
	t.Run("with a Long name, ünd /odd: characters that go on and on", func(t *testing.T) {
		schema, stream, prefix := devtest.Schema(t), devtest.Stream(t), devtest.Prefix(t)
		for name, pattern := range map[string]string{
			schema: `^t_[a-z0-9_]{1,24}_[0-9a-f]{5}_\d+$`,
			stream: `^T_[A-Z0-9_]{1,24}_[0-9A-F]{5}_\d+$`,
			prefix: `^t_[a-z0-9_]{1,24}_[0-9a-f]{5}_\d+:$`,
		} {
			if !regexp.MustCompile(pattern).MatchString(name) {
				t.Errorf("%q does not match %s", name, pattern)
			}
		}
		if again := devtest.Schema(t); again == schema {
			t.Errorf("Schema returned %s twice", again)
		}
	})
}

func TestSchemaIsDropped(t *testing.T) {
	t.Parallel()
	pool := devtest.Pool(t)
	var schema string
	t.Run("inner", func(t *testing.T) {
		schema = devtest.Schema(t)
		_, err := devtest.Pool(t).Exec(t.Context(), fmt.Sprintf("create schema %[1]s; create table %[1]s.x ()", schema))
		if err != nil {
			t.Fatal(err)
		}
	})
	var left int
	err := pool.QueryRow(t.Context(), "select count(*) from pg_namespace where nspname = $1", schema).Scan(&left)
	if err != nil || left != 0 {
		t.Errorf("got %d schemas named %s, %v; want 0", left, schema, err)
	}
}

func TestStreamIsDeleted(t *testing.T) {
	t.Parallel()
	js, err := jetstream.New(devtest.Conn(t))
	if err != nil {
		t.Fatal(err)
	}
	var stream string
	t.Run("inner", func(t *testing.T) {
		stream = devtest.Stream(t)
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream}); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := js.Stream(t.Context(), stream); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("read stream %s: got error %v, want ErrStreamNotFound", stream, err)
	}
}

func TestOneServerPerBinary(t *testing.T) {
	t.Parallel()
	postgres, broker, cache := devtest.Postgres(t), devtest.NATS(t), devtest.Redis(t)
	if postgres != devtest.Postgres(t) || broker != devtest.NATS(t) || cache != devtest.Redis(t) {
		t.Error("a second call returned another server")
	}
	if err := devtest.RedisClient(t).Set(t.Context(), devtest.Prefix(t)+"k", "v", 0).Err(); err != nil {
		t.Error(err)
	}
}

// recorder records the failure of a test.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Helper() {}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failure = fmt.Sprintf(format, args...)
	panic(r)
}

func TestEventually(t *testing.T) {
	t.Parallel()
	tries := 0
	devtest.Eventually(t, time.Minute, "third try", func() error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if tries != 3 {
		t.Errorf("got %d tries, want 3", tries)
	}

	failing := &recorder{TB: t}
	func() {
		defer func() { _ = recover() }()
		devtest.Eventually(failing, time.Millisecond, "the impossible", func() error { return context.DeadlineExceeded })
	}()
	for _, text := range []string{"the impossible", "1ms", context.DeadlineExceeded.Error()} {
		if !strings.Contains(failing.failure, text) {
			t.Errorf("failure %q does not contain %q", failing.failure, text)
		}
	}
}
