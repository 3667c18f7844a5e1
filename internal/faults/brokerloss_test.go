package faults

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// maxRepair bounds a repair, on a machine that is busy with other work. The report contains the measured times.
const maxRepair = 30 * time.Second

// brokerLoss damages a stream n times under load. Before each damage it calls prepare, which may be nil. Both functions
// must return with the server running. Afterwards every event that was committed before the damage must be in the
// stream within maxRepair; if inPlace is set, each at its old position.
func brokerLoss(t *testing.T, fault string, n int, inPlace bool, prepare func(s *scenario, b *broker), damage func(s *scenario, b *broker, rng *rand.Rand)) {
	b := newBroker(t)
	runScenario(t, fault, options{nats: b.url()}, func(s *scenario) {
		rng := rand.New(rand.NewPCG(seed(), 61))
		s.startInvalidator("")
		s.startRelay("relay", "")
		l := s.startLoad(6, 3*time.Millisecond, false)
		for range n {
			s.probe()
			if prepare != nil {
				prepare(s, b)
			}
			pause(t.Context(), time.Duration(100+rng.IntN(300))*time.Millisecond)
			want := s.committedIDs()
			damage(s, b, rng)
			s.awaitRepaired(time.Now(), want)
			if took := s.row.recoveries[len(s.row.recoveries)-1]; took > maxRepair {
				t.Errorf("the repair took %v, want at most %v", took, maxRepair)
			}
			s.row.faults++
		}
		l.stop()
		if v := s.verify(); inPlace && v.Again > 0 {
			t.Errorf("%d events have a later position, want 0: all could be restored in place", v.Again)
		}
	})
}

func testTruncatedBlock(t *testing.T) {
	brokerLoss(t, "broker: last block of the stream truncated while the server was killed or stopped", times(2, 10), false, nil,
		func(s *scenario, b *broker, rng *rand.Rand) {
			b.stop(s.row.faults%2 == 0)
			files := b.blocks(s.stream)
			last := files[len(files)-1]
			info, err := os.Stat(last)
			s.must(err)
			s.must(os.Truncate(last, info.Size()*int64(rng.IntN(100))/100))
			b.start()
		})
}

func testStoreRestored(t *testing.T) {
	var saved string
	brokerLoss(t, "broker: killed, the whole store replaced with an older copy", times(2, 6), true,
		func(s *scenario, b *broker) {
			saved = t.TempDir()
			b.stop(s.row.faults%2 == 0)
			s.must(os.CopyFS(saved, os.DirFS(b.dir)))
			b.start()
			s.probe()
		},
		func(s *scenario, b *broker, _ *rand.Rand) {
			b.stop(true)
			s.must(restoreStore(b.dir, saved))
			b.start()
		})
}

func testPurged(t *testing.T) {
	brokerLoss(t, "broker: purge of the stream, of a subject, single messages deleted", times(1, 4), false, nil,
		func(s *scenario, _ *broker, rng *rand.Rand) {
			stream, err := s.js.Stream(t.Context(), s.stream)
			s.must(err)
			switch s.row.faults % 3 {
			case 0:
				s.must(stream.Purge(t.Context()))
			case 1:
				for range 20 {
					_ = stream.DeleteMsg(t.Context(), 1+rng.Uint64N(stream.CachedInfo().State.LastSeq)) // the message may already be deleted
				}
			case 2:
				s.must(stream.Purge(t.Context(), jetstream.WithPurgeSubject(s.stream+".account.*")))
			}
		})
}

func testRecreatedStream(t *testing.T) {
	brokerLoss(t, "broker: stream deleted, created again by the relay or by an operator", times(2, 6), true, nil,
		func(s *scenario, _ *broker, _ *rand.Rand) {
			stream, err := s.js.Stream(t.Context(), s.stream)
			s.must(err)
			s.must(s.js.DeleteStream(t.Context(), s.stream))
			if c := stream.CachedInfo().Config; s.row.faults%2 == 0 {
				_, err = s.js.CreateOrUpdateStream(t.Context(), c) // the relay may have created it
				s.must(err)
			}
		})
}

// testFlippedBit flips a bit in the files of the stream. The server still counts a damaged message, but cannot read it.
// In half of the cases the bit belongs to the length of a message in the last block: the server then loses all later
// messages.
func testFlippedBit(t *testing.T) {
	brokerLoss(t, "broker: a bit flipped in a block of the stream while the server was killed or stopped", times(2, 8), false,
		func(s *scenario, _ *broker) {
			if s.row.faults == 0 { // fill more than one block of 8 MiB: the server checks only the last block itself
				s.exec(`INSERT INTO outbox.event (subject, payload)
					SELECT $1, convert_to(repeat('x', 2000), 'UTF8') FROM generate_series(1, 5000)`, s.stream+".bulk.0")
				s.probe()
			}
		},
		func(s *scenario, b *broker, rng *rand.Rand) {
			b.stop(s.row.faults%2 == 1)
			files := b.blocks(s.stream)
			file := files[rng.IntN(len(files))]
			length := s.row.faults%4 < 2
			if length {
				file = files[len(files)-1]
			}
			data, err := os.ReadFile(file)
			s.must(err)
			at := rng.IntN(max(len(data), 1))
			if length {
				at = lengthBefore(data, at)
			}
			if at < len(data) {
				data[at] ^= 1 << rng.IntN(8)
			}
			s.must(os.WriteFile(file, data, 0o600))
			b.start()
		})
}

// lengthBefore returns the offset of the second byte of the length of a message: of the last message in the block that
// begins before an offset.
func lengthBefore(block []byte, offset int) int {
	at := 0
	for at+4 <= len(block) {
		next := at + int(binary.LittleEndian.Uint32(block[at:])&^(1<<31)) // the highest bit marks a message with headers
		if next <= at || next > offset {
			break
		}
		at = next
	}
	return at + 1
}
