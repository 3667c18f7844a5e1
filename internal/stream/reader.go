package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

const (
	// RequestTimeout bounds one request to a server. The answer to a request can be lost with its connection, and the
	// caller then waits this long in vain.
	RequestTimeout = 2 * time.Second
	// deletedTimeout bounds the request for all deleted sequences, whose answer can be large.
	deletedTimeout = 30 * time.Second
)

// ErrNotConnected reports that there is no connection to the broker now.
var ErrNotConnected = errors.New("not connected to the broker")

// Reader reads one stream. It is safe for concurrent use.
type Reader struct {
	nc   *nats.Conn
	name string
}

// NewReader returns a reader of the stream of that name, whether or not the stream exists.
func NewReader(nc *nats.Conn, name string) *Reader { return &Reader{nc: nc, name: name} }

// ValidName reports whether name can be the name of a stream.
func ValidName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsAny(name, ". \t\r\n*>/\\")
}

// Info returns configuration and state of the stream. create, if not nil, makes the stream when it does not exist;
// otherwise the error then wraps jetstream.ErrStreamNotFound. Without a connection the error wraps ErrNotConnected. It
// takes RequestTimeout at most.
func (r *Reader) Info(ctx context.Context, create func(context.Context, jetstream.JetStream) (jetstream.Stream, error)) (*jetstream.StreamInfo, error) {
	if !r.nc.IsConnected() { // the client's own error would be about its reconnect buffer
		return nil, fmt.Errorf("find stream %s: %w", r.name, ErrNotConnected)
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	js, err := jetstream.New(r.nc)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	s, err := js.Stream(ctx, r.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) && create != nil {
		s, err = create(ctx, js)
	}
	if err != nil {
		return nil, fmt.Errorf("find stream %s: %w", r.name, err)
	}
	return s.CachedInfo(), nil
}

// Message is a message as the stream's leader stores it.
type Message struct {
	Sequence uint64
	Event    event.Event
	Marker   bool // it replaces a parked event
	Ours     bool // its headers are those of a relay
}

// Message reads one message from the stream's leader, within RequestTimeout. It returns nil if the stream has no message
// at that sequence.
func (r *Reader) Message(ctx context.Context, sequence uint64) (*Message, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	var answer struct {
		Message *struct {
			Subject  string `json:"subject"`
			Sequence uint64 `json:"seq"`
			Headers  []byte `json:"hdrs"`
			Data     []byte `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	err := r.request(ctx, "MSG.GET", fmt.Appendf(nil, `{"seq":%d}`, sequence), &answer)
	switch {
	case err != nil:
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, nil
	case answer.Error != nil:
		err = answer.Error
	case answer.Message == nil:
		err = errors.New("empty answer")
	}
	if err != nil {
		return nil, fmt.Errorf("read message %d of stream %s: %w", sequence, r.name, err)
	}
	headers := nats.Header{}
	if len(answer.Message.Headers) > 0 {
		if headers, err = nats.DecodeHeadersMsg(answer.Message.Headers); err != nil {
			headers = nil // no relay wrote it
		}
	}
	m := newMessage(answer.Message.Sequence, answer.Message.Subject, headers, answer.Message.Data)
	return &m, nil
}

func newMessage(sequence uint64, subject string, headers nats.Header, data []byte) Message {
	m := Message{Sequence: sequence}
	ev, err := event.Parse(subject, headers, data)
	if err == nil && ev.Position > 0 {
		m.Event, m.Ours = ev, true
		m.Marker = headers.Get(event.HeaderParked) != ""
	}
	return m
}

// Deleted reads which sequences between the stream's first and last have no message, in ascending order.
func (r *Reader) Deleted(ctx context.Context) ([]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, deletedTimeout)
	defer cancel()
	var answer struct {
		State jetstream.StreamState `json:"state"`
		Error *jetstream.APIError   `json:"error"`
	}
	err := r.request(ctx, "INFO", []byte(`{"deleted_details":true}`), &answer)
	if err == nil && answer.Error != nil {
		err = answer.Error
	}
	if err != nil {
		return nil, fmt.Errorf("read deleted sequences of stream %s: %w", r.name, err)
	}
	return answer.State.Deleted, nil
}

// request asks the JetStream API about the stream and decodes the answer.
func (r *Reader) request(ctx context.Context, what string, body []byte, answer any) error {
	reply, err := r.nc.RequestWithContext(ctx, "$JS.API.STREAM."+what+"."+r.name, body)
	if err != nil {
		return err
	}
	return json.Unmarshal(reply.Data, answer)
}
