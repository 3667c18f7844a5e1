package faults

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// promptly is what a repair may take on a machine that is busy with other things. What it took, the row says.
const promptly = 30 * time.Second

// brokerLoss damages a stream under load, time and again: damage is called with the server stopped or killed, and
// returns with it running. Everything committed before has to be in the stream again, soon.
func brokerLoss(t *testing.T, fault string, n int, inPlace bool, prepare func(s *scene, b *broker), damage func(s *scene, b *broker, rng *rand.Rand)) {
	b := newBroker(t)
	scenario(t, fault, options{nats: b.url()}, func(s *scene) {
		rng := rand.New(rand.NewPCG(seed(), 61))
		s.invalidator("")
		s.relay("relay", "")
		l := s.write(6, 3*time.Millisecond, false)
		for range n {
			s.flows()
			if prepare != nil {
				prepare(s, b)
			}
			pause(t.Context(), time.Duration(100+rng.IntN(300))*time.Millisecond)
			want := s.committed()
			damage(s, b, rng)
			s.repaired(time.Now(), want)
			if took := s.row.recoveries[len(s.row.recoveries)-1]; took > promptly {
				t.Errorf("repaired after %v", took)
			}
			s.row.faults++
		}
		l.stop()
		if v := s.judge(); inPlace && v.Again > 0 {
			t.Errorf("%d events have a later position, where all could be put back in place", v.Again)
		}
	})
}

func testTruncatedBlock(t *testing.T) {
	brokerLoss(t, "broker: last block of the stream cut off while it was killed or stopped", times(2, 10), false, nil,
		func(s *scene, b *broker, rng *rand.Rand) {
			b.stop(s.row.faults%2 == 0)
			files := b.blocks(s.stream)
			last := files[len(files)-1]
			info, err := os.Stat(last)
			s.must(err)
			s.must(os.Truncate(last, info.Size()*int64(rng.IntN(100))/100))
			b.start()
		})
}

func testStoreWentBack(t *testing.T) {
	var saved string
	brokerLoss(t, "broker: killed, the whole store put back to an older copy", times(2, 6), true,
		func(s *scene, b *broker) {
			saved = t.TempDir()
			b.stop(s.row.faults%2 == 0)
			s.must(os.CopyFS(saved, os.DirFS(b.dir)))
			b.start()
			s.flows()
		},
		func(s *scene, b *broker, _ *rand.Rand) {
			b.stop(true)
			s.must(putBack(b.dir, saved))
			b.start()
		})
}

func testPurged(t *testing.T) {
	brokerLoss(t, "broker: purge of the stream, of a subject, single messages deleted", times(1, 4), false, nil,
		func(s *scene, _ *broker, rng *rand.Rand) {
			stream, err := s.js.Stream(t.Context(), s.stream)
			s.must(err)
			switch s.row.faults % 3 {
			case 0:
				s.must(stream.Purge(t.Context()))
			case 1:
				for range 20 {
					_ = stream.DeleteMsg(t.Context(), 1+rng.Uint64N(stream.CachedInfo().State.LastSeq)) // maybe it is gone
				}
			case 2:
				s.must(stream.Purge(t.Context(), jetstream.WithPurgeSubject(s.stream+".account.*")))
			}
		})
}

func testRecreatedStream(t *testing.T) {
	brokerLoss(t, "broker: stream deleted, made again by the relay or by a person", times(2, 6), true, nil,
		func(s *scene, _ *broker, _ *rand.Rand) {
			stream, err := s.js.Stream(t.Context(), s.stream)
			s.must(err)
			s.must(s.js.DeleteStream(t.Context(), s.stream))
			if c := stream.CachedInfo().Config; s.row.faults%2 == 0 {
				_, err = s.js.CreateOrUpdateStream(t.Context(), c) // the relay may be first
				s.must(err)
			}
		})
}

// A bit flips anywhere in the stream's files: the server counts the message, and cannot read it. Every second time it is one
// of the length of a message in the last block, which takes all behind it away.
func testFlippedBit(t *testing.T) {
	brokerLoss(t, "broker: a bit flipped in a block of the stream while it was killed or stopped", times(2, 8), false,
		func(s *scene, _ *broker) {
			if s.row.faults == 0 { // more than a block of 8 MiB: the server itself checks the last one only
				s.exec(`INSERT INTO outbox.event (subject, payload)
					SELECT $1, convert_to(repeat('x', 2000), 'UTF8') FROM generate_series(1, 5000)`, s.stream+".bulk.0")
				s.flows()
			}
		},
		func(s *scene, b *broker, rng *rand.Rand) {
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

// lengthBefore is where the last message of a block that begins before an offset has the second byte of its length.
func lengthBefore(block []byte, offset int) int {
	at := 0
	for at+4 <= len(block) {
		next := at + int(binary.LittleEndian.Uint32(block[at:])&^(1<<31)) // the bit says that it has headers
		if next <= at || next > offset {
			break
		}
		at = next
	}
	return at + 1
}
