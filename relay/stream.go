package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// requestTimeout bounds one question to a server. An answer that got lost with its connection is waited for in vain, so
// this is also what such a loss costs.
const requestTimeout = 2 * time.Second

// queryTimeout bounds one statement on the pool.
const queryTimeout = 30 * time.Second

// errAway says that there is no connection to the broker now.
var errAway = errors.New("not connected to the broker")

// target is the stream as a window needs it.
type target struct {
	stream     table.Stream
	last       uint64 // sequence of its last message
	first      uint64
	deleted    int       // messages missing between first and last
	oldest     time.Time // when its first message was stored, or if it is empty, its last
	leader     string    // server that leads it; empty outside a cluster
	replicas   int
	subjects   []string
	maxMsgSize int // 0: no limit of its own

	maxAge          time.Duration // 0: no limit
	dropsOld        bool          // a limit of count or size makes it drop its first messages
	dropsPerSubject bool          // a limit per subject makes it drop any
}

// ControlSubject is the subject of the markers that stand in for parked events; a chained stream must cover it.
func ControlSubject(stream string) string { return event.ParkedPrefix + stream }

func validStream(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsAny(name, ". \t\r\n*>/\\")
}

// ensureStream finds the stream or makes it, and refuses one that cannot serve. Asked again at every resume,
// since a stream can be deleted and edited.
func (r *Relay) ensureStream(ctx context.Context) (*target, error) {
	return r.lookUp(ctx, r.makeStream)
}

// findStream finds the stream; jetstream.ErrStreamNotFound when there is none.
func (r *Relay) findStream(ctx context.Context) (*target, error) {
	return r.lookUp(ctx, func(context.Context, jetstream.JetStream) (jetstream.Stream, error) {
		return nil, jetstream.ErrStreamNotFound
	})
}

func (r *Relay) lookUp(ctx context.Context, missing func(context.Context, jetstream.JetStream) (jetstream.Stream, error)) (*target, error) {
	if !r.nc.IsConnected() { // the client speaks of its buffer, which has no room for a server that is away
		return nil, fmt.Errorf("find stream %s: %w", r.cfg.Stream, errAway)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	js, err := jetstream.New(r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	stream, err := js.Stream(ctx, r.cfg.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = missing(ctx, js)
	}
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", r.cfg.Stream, err)
	}
	info := stream.CachedInfo()
	if err := r.checkStream(&info.Config); err != nil {
		return nil, err
	}
	return newTarget(info), nil
}

func newTarget(info *jetstream.StreamInfo) *target {
	c := &info.Config
	t := &target{
		stream: table.Stream{Name: c.Name, Created: info.Created},
		last:   info.State.LastSeq, first: info.State.FirstSeq, deleted: info.State.NumDeleted, oldest: info.State.FirstTime,
		replicas: max(c.Replicas, 1), subjects: c.Subjects, maxMsgSize: int(max(c.MaxMsgSize, 0)), maxAge: c.MaxAge,
		dropsOld:        c.MaxMsgsPerSubject > 0 || c.Discard == jetstream.DiscardOld && (c.MaxMsgs > 0 || c.MaxBytes > 0),
		dropsPerSubject: c.MaxMsgsPerSubject > 0,
	}
	if info.State.Msgs == 0 {
		t.oldest = info.State.LastTime
	}
	if info.Cluster != nil {
		t.leader = info.Cluster.Leader
	}
	return t
}

func (r *Relay) wantedSubjects() []string {
	if r.cfg.Shared {
		return r.cfg.Subjects
	}
	return append(append([]string(nil), r.cfg.Subjects...), ControlSubject(r.cfg.Stream))
}

func (r *Relay) makeStream(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	if r.cfg.NoCreate || len(r.cfg.Subjects) == 0 {
		return nil, fmt.Errorf("%w: stream %s is missing; make it, or give --subjects without --no-create", ErrStream, r.cfg.Stream)
	}
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{
		Name:        r.cfg.Stream,
		Description: "events of an outbox; written by outbox relay alone",
		Subjects:    r.wantedSubjects(),
		Storage:     jetstream.FileStorage,
		Retention:   jetstream.LimitsPolicy,
		MaxAge:      r.cfg.MaxAge,
		Replicas:    r.cfg.Replicas,
		Duplicates:  min(2*time.Minute, orLong(r.cfg.MaxAge)),
		AllowDirect: true,
	})
	if err == nil {
		r.log.Info("stream made", "stream", r.cfg.Stream, "subjects", r.wantedSubjects())
	}
	return stream, err
}

func orLong(d time.Duration) time.Duration {
	if d == 0 {
		return time.Hour
	}
	return d
}

// checkStream names what is wrong and the command that mends it.
func (r *Relay) checkStream(c *jetstream.StreamConfig) error {
	for _, want := range r.wantedSubjects() {
		if !Covered(c.Subjects, want) {
			all := strings.Join(append(append([]string(nil), c.Subjects...), missing(c.Subjects, r.wantedSubjects())...), ",")
			return fmt.Errorf("%w: stream %s does not cover subject %q; run: nats stream edit %s --subjects '%s'", ErrStream, c.Name, want, c.Name, all)
		}
	}
	switch {
	case c.NoAck:
		return fmt.Errorf("%w: stream %s has no_ack, so nothing could be known of a publish; make another", ErrStream, c.Name)
	case c.Sealed:
		return fmt.Errorf("%w: stream %s is sealed; make another", ErrStream, c.Name)
	case c.Mirror != nil:
		return fmt.Errorf("%w: stream %s is a mirror; publish to its origin", ErrStream, c.Name)
	case c.Retention != jetstream.LimitsPolicy && !r.cfg.Shared:
		return fmt.Errorf("%w: stream %s has %s retention, which drops what consumers acknowledge; make one with limits retention, or run with --chain=off", ErrStream, c.Name, c.Retention)
	}
	return nil
}

func missing(have, want []string) (out []string) {
	for _, w := range want {
		if !Covered(have, w) {
			out = append(out, w)
		}
	}
	return out
}

// Covered says whether one of the stream's subjects takes in everything that a subject or pattern matches.
func Covered(patterns []string, subject string) bool {
	for _, p := range patterns {
		if covers(p, subject) {
			return true
		}
	}
	return false
}

// covers goes through both token by token; every event passes it, so it makes no lists of them.
func covers(pattern, subject string) bool {
	for {
		want, pattern2, moreWanted := strings.Cut(pattern, ".")
		if want == ">" {
			return true
		}
		token, subject2, more := strings.Cut(subject, ".")
		if token == ">" || want != "*" && want != token || more != moreWanted {
			return false
		}
		if !more {
			return true
		}
		pattern, subject = pattern2, subject2
	}
}

// stored is a message as the leader has it.
type stored struct {
	sequence uint64
	event    event.Event
	marker   bool
	ours     bool // it says that it came from a relay
}

// message reads one message from the stream's leader. Not a direct get, which any replica answers, maybe an older
// truth. nil means that there is none at this sequence.
func (r *Relay) message(ctx context.Context, sequence uint64) (*stored, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	reply, err := r.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+r.cfg.Stream, fmt.Appendf(nil, `{"seq":%d}`, sequence))
	if err != nil {
		return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, r.cfg.Stream, err)
	}
	var answer struct {
		Message *struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Headers  []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, r.cfg.Stream, err)
	}
	switch {
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, r.cfg.Stream, answer.Error)
	case answer.Message == nil:
		return nil, fmt.Errorf("read message %d of stream %s: empty answer", sequence, r.cfg.Stream)
	}
	headers := nats.Header{}
	if len(answer.Message.Headers) > 0 {
		if headers, err = nats.DecodeHeadersMsg(answer.Message.Headers); err != nil {
			headers = nil // then it is not one of ours
		}
	}
	m := read(answer.Message.Sequence, answer.Message.Subject, headers, answer.Message.Data)
	return &m, nil
}

func read(sequence uint64, subject string, headers nats.Header, data []byte) stored {
	s := stored{sequence: sequence}
	ev, err := event.Parse(subject, headers, data)
	if err == nil && ev.Position > 0 {
		s.event, s.ours = ev, true
		s.marker = headers.Get(event.HeaderParked) != ""
	}
	return s
}
