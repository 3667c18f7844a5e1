package invalidate

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// aMsg is a message without a server.
type aMsg struct {
	jetstream.Msg
	subject string
	headers nats.Header
}

func (m aMsg) Subject() string      { return m.subject }
func (m aMsg) Headers() nats.Header { return m.headers }
func (m aMsg) Data() []byte         { return []byte(`{"event":"user.updated","name":"someone"}`) }
func (m aMsg) Reply() string        { return "$JS.ACK.USERS.now.1.1.1.1764000000000000000.0" }

// BenchmarkBatch measures how long a batch of 256 messages takes to resolve, per message. To measure the whole way of a
// message next to its raw floor, run outbox bench --scenario invalidate.
func BenchmarkBatch(b *testing.B) {
	set, err := rules.Parse("bench", []byte("rules:\n  - subject: users.*.updated\n    keys: [\"user:$1:profile\", \"user:$1:orders\"]\n"))
	if err != nil {
		b.Fatal(err)
	}
	var msgs []jetstream.Msg
	for i := range 256 {
		ev := event.Event{ID: uuid.New(), Position: int64(i + 1), Key: strconv.Itoa(i), CreatedAt: time.Now()}
		m := aMsg{subject: "users." + strconv.Itoa(i) + ".updated", headers: nats.Header{}}
		ev.SetHeaders(m.headers)
		msgs = append(msgs, m)
	}
	never := func(*rules.Deletion, jetstream.Msg) bool { return false }
	resolver := set.NewResolver()
	var batch batch
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if i%len(msgs) == 0 {
			batch.reset()
		}
		batch.add(resolver, msgs[i%len(msgs)], never)
		i++
	}
	if len(batch.poison) > 0 || len(batch.keys) == 0 {
		b.Fatalf("%d poison, %d keys", len(batch.poison), len(batch.keys))
	}
}
