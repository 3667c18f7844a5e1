package invalidate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/redis/go-redis/v9"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack/devtest"
	"github.com/seed-6eff6314/outbox-relay/invalidate"
)

// What a child process needs to know.
const (
	childStream = "INVALIDATE_TEST_STREAM"
	childRules  = "INVALIDATE_TEST_RULES"
	childNATS   = "INVALIDATE_TEST_NATS"
	childRedis  = "INVALIDATE_TEST_REDIS"
)

// runChild is an invalidator that kills itself the hard way when Redis has said yes and nothing is
// acknowledged yet.
func runChild() {
	err := func() error {
		conn, err := nats.Connect(os.Getenv(childNATS))
		if err != nil {
			return err
		}
		js, err := jetstream.New(conn)
		if err != nil {
			return err
		}
		opts, err := redis.ParseURL(os.Getenv(childRedis))
		if err != nil {
			return err
		}
		rules, err := invalidate.ParseRules("child", []byte(os.Getenv(childRules)))
		if err != nil {
			return err
		}
		v, err := invalidate.New(js, redis.NewClient(opts), invalidate.Config{
			Stream: os.Getenv(childStream), Rules: rules, AckWait: crashWait,
		})
		if err != nil {
			return err
		}
		v.SetHook(func(string) {
			_ = conn.Flush() // an ack that was sent too early would have arrived
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		})
		return v.Run(context.Background())
	}()
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
}

const crashWait = time.Second

func TestKilledBetweenUnlinkAndAck(t *testing.T) {
	t.Parallel()
	const n = 100
	r := newRig(t)
	r.fill(0, n)
	r.publish(0, n)
	rules := fmt.Sprintf("rules: [{subject: %s.users.*.updated, prefix: [%q], keys: [\"user:$1:profile\", \"user:$1:orders\"]}]", r.stream, r.prefix)
	r.rules = parse(t, rules)
	child := exec.Command(os.Args[0], "-test.run=^$")
	child.Env = append(os.Environ(), childStream+"="+r.stream, childRules+"="+rules,
		childNATS+"="+devtest.NATS(t).URL(), childRedis+"="+devtest.Redis(t).URL())
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child: %v\n%s", err, out)
	}
	info := r.consumer(durable)
	if info.AckFloor.Stream != 0 || info.NumAckPending == 0 {
		t.Errorf("killed before the acks: ack floor %d, %d not acknowledged", info.AckFloor.Stream, info.NumAckPending)
	}
	if r.left() == 2*n {
		t.Error("killed after the unlink, but all keys are there")
	}

	// Readers fill the cache again before the events come again.
	r.fill(0, n)
	cfg := r.config()
	cfg.AckWait = crashWait
	v := r.invalidator(cfg)
	r.run(v)
	r.settled()
	r.until(v, "all events, some of them again", func(s invalidate.Stats) bool { return s.Events == n && s.Redelivered > 0 })
	r.noLetters()
}
