package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	batch     = 512      // events that one pull request asks for
	pullBytes = 16 << 20 // bytes of one pull request, at least
	room      = 64       // buffered messages of the server other than events, until a request is complete
)

var errSilent = errors.New("the server does not respond")

// A feed receives from one consumer, with one pull request after the other, until it detects a fault. It makes the
// requests itself because nats.go hides idle heartbeats, which carry the number of deliveries: they reveal a lost event
// even if no other event follows. All fields belong to the goroutine of the follower.
type feed struct {
	conn     *nats.Conn
	api      string // prefix of API subjects
	cfg      *Config
	at       *progress
	notices  chan<- notice
	inbox    string
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	status   chan nats.Status
	consumer string
	seq      uint64 // consumer sequence of the last event
	requests int    // pull requests made; the reply subject of each ends with its number
	left     int    // events that the open request can still bring
	checking uint64 // progress at the last request for the state of the stream
	checked  uint64 // progress at the request before it; the reply is compared with it
	awaiting bool   // the reply to the last request for the state has not arrived
	heard    time.Time
}

// listen creates a feed without a consumer. From then on the feed notices every disconnect. The caller must close it.
func listen(fw *follower) (*feed, error) {
	conn := fw.js.Conn()
	f := &feed{
		conn: conn, api: apiPrefix(fw.js.Options()), cfg: fw.cfg, at: &fw.at, notices: fw.notices,
		inbox: conn.NewInbox(), msgs: make(chan *nats.Msg, batch+room),
		status: conn.StatusChanged(nats.DISCONNECTED, nats.RECONNECTING, nats.CLOSED),
	}
	var err error
	if f.sub, err = conn.ChanSubscribe(f.inbox+".>", f.msgs); err != nil {
		conn.RemoveStatusListener(f.status)
		return nil, err
	}
	return f, nil
}

// close deletes the consumer if the connection is up. Otherwise the server deletes it after its inactive threshold.
func (f *feed) close() {
	f.conn.RemoveStatusListener(f.status)
	_ = f.sub.Unsubscribe() // fails only if the connection was closed
	if f.consumer == "" || !f.conn.IsConnected() {
		return
	}
	subject := fmt.Sprintf("%sCONSUMER.DELETE.%s.%s", f.api, f.cfg.Stream, f.consumer)
	_, _ = f.conn.Request(subject, nil, deleteTimeout)
}

// apiPrefix returns the prefix of the subjects of API requests.
func apiPrefix(options jetstream.JetStreamOptions) string {
	switch {
	case options.Domain != "":
		return "$JS." + options.Domain + ".API."
	case options.APIPrefix != "":
		return strings.TrimSuffix(options.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// receive passes on what arrives until ctx ends or the consumer is no longer reliable, and returns the reason as an error.
// received reports whether any message of the server was processed.
func (f *feed) receive(ctx context.Context) (received bool, err error) {
	check := time.NewTicker(f.cfg.MaxUnconfirmed)
	defer check.Stop()
	silence := time.NewTicker(f.cfg.MaxUnconfirmed / 8)
	defer silence.Stop()
	f.heard = time.Now()
	err = f.request()
	for err == nil {
		select {
		case <-ctx.Done():
			return received, ctx.Err()
		case s := <-f.status:
			err = fmt.Errorf("the connection is %s", strings.ToLower(s.String()))
		case msg := <-f.msgs:
			f.heard = time.Now()
			err = f.process(ctx, msg)
			received = received || err == nil
		case <-check.C:
			err = f.requestState()
		case <-silence.C:
			if len(f.msgs) == 0 && time.Since(f.heard) > f.cfg.MaxUnconfirmed/2 {
				err = errSilent
			}
		}
	}
	return received, err
}

// request makes the next pull request.
func (f *feed) request() error {
	f.requests++
	f.left = batch
	body := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
		batch, max(pullBytes, 2*f.conn.MaxPayload()), 2*f.cfg.MaxUnconfirmed, f.cfg.MaxUnconfirmed/confirmsPerPeriod)
	return f.publish("CONSUMER.MSG.NEXT."+f.cfg.Stream+"."+f.consumer, f.reply(), []byte(body))
}

// requestState asks for the state of the stream. If the previous reply has not arrived, the server does not respond.
func (f *feed) requestState() error {
	if f.awaiting {
		return errSilent
	}
	f.awaiting, f.checking = true, f.at.last
	return f.publish("STREAM.INFO."+f.cfg.Stream, f.inbox+".state", nil)
}

// reply returns the reply subject of the open pull request.
func (f *feed) reply() string { return f.inbox + "." + strconv.Itoa(f.requests) }

func (f *feed) publish(subject, reply string, data []byte) error {
	if err := f.conn.PublishRequest(f.api+subject, reply, data); err != nil {
		return fmt.Errorf("send request: %w", err)
	}
	return nil
}

// process handles one message. Events have their own subject, all other messages a subject of the inbox.
func (f *feed) process(ctx context.Context, msg *nats.Msg) error {
	switch {
	case msg.Subject == f.inbox+".state":
		return f.checkState(ctx, msg)
	case strings.HasPrefix(msg.Subject, f.inbox):
		return f.control(ctx, msg)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	if meta.Sequence.Consumer != f.seq+1 {
		return fmt.Errorf("want delivery %d, got %d", f.seq+1, meta.Sequence.Consumer)
	}
	f.seq++
	f.at.last = meta.Sequence.Stream
	if err := send(ctx, f.notices, notice{kind: arrived, msg: msg, upToDate: meta.NumPending == 0}); err != nil {
		return err
	}
	if f.left--; f.left == 0 {
		return f.request()
	}
	return nil
}

// control handles a status message of the server about a pull request.
func (f *feed) control(ctx context.Context, msg *nats.Msg) error {
	status, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	complete := status == "408" || status == "404" ||
		status == "409" && (strings.HasPrefix(text, "Batch Completed") || strings.HasPrefix(text, "Message Size Exceeds MaxBytes"))
	switch {
	case status == "100":
		return f.heartbeat(ctx, msg)
	case complete && msg.Subject == f.reply():
		return f.request()
	case complete:
		return nil // about an earlier request, which was filled
	}
	return fmt.Errorf("pull request: %s %s", status, text)
}

// heartbeat compares the number of deliveries with the number of events received. If they are equal, every event up to the
// stream sequence of the heartbeat was received or does not match the rules.
func (f *feed) heartbeat(ctx context.Context, msg *nats.Msg) error {
	delivered, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err != nil {
		return fmt.Errorf("read heartbeat: %w", err)
	}
	if delivered != f.seq {
		return fmt.Errorf("the server delivered %d events, received %d", delivered, f.seq)
	}
	if last, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Stream"), 10, 64); err == nil {
		f.at.last = max(f.at.last, last)
	}
	return send(ctx, f.notices, notice{kind: confirmed, upToDate: true})
}

// checkState detects whether the stream has dropped messages before they were delivered, which a consumer skips without
// reporting it: after a purge, or when a limit takes effect while the evictor lags. Every message after the progress of the
// previous check that the stream still has now was also there when the consumer delivered it.
func (f *feed) checkState(ctx context.Context, msg *nats.Msg) error {
	var info struct {
		Error   *jetstream.APIError `json:"error"`
		Created time.Time           `json:"created"`
		State   struct {
			First uint64 `json:"first_seq"`
			Last  uint64 `json:"last_seq"`
		} `json:"state"`
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return fmt.Errorf("read state of the stream: status %q: %w", msg.Header.Get("Status"), err)
	}
	switch {
	case info.Error != nil:
		return fmt.Errorf("read state of the stream: %w", info.Error)
	case !info.Created.Equal(f.at.created):
		return errors.New("the stream was deleted and created again")
	case info.State.Last < f.checking:
		return fmt.Errorf("the stream ends at sequence %d, was followed to %d", info.State.Last, f.checking)
	}
	seen := f.checked
	f.checked, f.awaiting = f.checking, false
	if info.State.First <= seen+1 {
		return nil
	}
	why := fmt.Sprintf("the stream begins at sequence %d, was followed to %d", info.State.First, seen)
	return send(ctx, f.notices, notice{kind: gap, why: why})
}
