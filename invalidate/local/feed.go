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
	pullBytes = 16 << 20 // of one pull request, at least
	room      = 64       // for what the server says beside events, until a request is over
)

var errSilent = errors.New("the server is silent")

// A feed receives from one consumer, by one pull request after the other, until anything is not as it should be. It
// makes the requests itself, because idle heartbeats, which no consumer of nats.go shows, say how much was delivered:
// an event that was lost on its way is missed at the next heartbeat even if no other follows. Everything in it belongs
// to one goroutine.
type feed struct {
	conn     *nats.Conn
	api      string // prefix of API subjects
	cfg      *Config
	at       *position
	words    chan<- word
	inbox    string
	sub      *nats.Subscription
	msgs     chan *nats.Msg
	status   chan nats.Status
	consumer string
	seq      uint64 // consumer sequence of the last event
	asked    int    // requests made; the reply subject has the number
	left     int    // events that the open request may still bring
	looking  uint64 // position when the stream was last asked for
	looked   uint64 // position when it was asked for the time before, to which the answer is compared
	unsaid   bool   // the answer is to come
	heard    time.Time
}

// listen makes a feed without a consumer. From now on no disconnect is missed. The caller must close it.
func listen(l *link) (*feed, error) {
	conn := l.js.Conn()
	f := &feed{
		conn: conn, api: prefix(l.js.Options()), cfg: l.cfg, at: &l.at, words: l.words,
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

// close deletes the consumer, if the server is there.
func (f *feed) close() {
	f.conn.RemoveStatusListener(f.status)
	_ = f.sub.Unsubscribe() // fails only when the connection was closed
	if f.consumer == "" || !f.conn.IsConnected() {
		return
	}
	subject := fmt.Sprintf("%sCONSUMER.DELETE.%s.%s", f.api, f.cfg.Stream, f.consumer)
	_, _ = f.conn.Request(subject, nil, byeTimeout) // else the server deletes it when it was inactive for long enough
}

// prefix returns what stands before the subjects of API requests.
func prefix(options jetstream.JetStreamOptions) string {
	switch {
	case options.Domain != "":
		return "$JS." + options.Domain + ".API."
	case options.APIPrefix != "":
		return strings.TrimSuffix(options.APIPrefix, ".") + "."
	}
	return jetstream.DefaultAPIPrefix
}

// receive tells what comes until ctx ends or the consumer cannot be trusted any more, which is the error. It says
// whether the server was heard.
func (f *feed) receive(ctx context.Context) (worked bool, err error) {
	look := time.NewTicker(f.cfg.MaxSilent)
	defer look.Stop()
	silence := time.NewTicker(f.cfg.MaxSilent / 8)
	defer silence.Stop()
	f.heard = time.Now()
	err = f.ask()
	for err == nil {
		select {
		case <-ctx.Done():
			return worked, ctx.Err()
		case s := <-f.status:
			err = fmt.Errorf("the connection is %s", strings.ToLower(s.String()))
		case msg := <-f.msgs:
			f.heard = time.Now()
			err = f.take(ctx, msg)
			worked = worked || err == nil
		case <-look.C:
			err = f.look()
		case <-silence.C:
			if len(f.msgs) == 0 && time.Since(f.heard) > f.cfg.MaxSilent/2 {
				err = errSilent
			}
		}
	}
	return worked, err
}

// ask makes the next pull request.
func (f *feed) ask() error {
	f.asked++
	f.left = batch
	request := fmt.Sprintf(`{"batch":%d,"max_bytes":%d,"expires":%d,"idle_heartbeat":%d}`,
		batch, max(pullBytes, 2*f.conn.MaxPayload()), 2*f.cfg.MaxSilent, f.cfg.MaxSilent/4)
	return f.publish("CONSUMER.MSG.NEXT."+f.cfg.Stream+"."+f.consumer, f.reply(), []byte(request))
}

// look asks for the state of the stream.
func (f *feed) look() error {
	if f.unsaid {
		return errSilent
	}
	f.unsaid, f.looking = true, f.at.last
	return f.publish("STREAM.INFO."+f.cfg.Stream, f.inbox+".state", nil)
}

func (f *feed) reply() string { return f.inbox + "." + strconv.Itoa(f.asked) }

func (f *feed) publish(subject, reply string, data []byte) error {
	if err := f.conn.PublishRequest(f.api+subject, reply, data); err != nil {
		return fmt.Errorf("ask the server: %w", err)
	}
	return nil
}

// take works off one message. Events come with their own subject, all else with that of the inbox.
func (f *feed) take(ctx context.Context, msg *nats.Msg) error {
	switch {
	case msg.Subject == f.inbox+".state":
		return f.state(ctx, msg)
	case strings.HasPrefix(msg.Subject, f.inbox):
		return f.control(ctx, msg)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read metadata: %w", err)
	}
	if meta.Sequence.Consumer != f.seq+1 {
		return fmt.Errorf("delivery %d came after %d", meta.Sequence.Consumer, f.seq)
	}
	f.seq++
	f.at.last = meta.Sequence.Stream
	if err := tell(ctx, f.words, word{kind: arrived, msg: msg, current: meta.NumPending == 0}); err != nil {
		return err
	}
	if f.left--; f.left == 0 {
		return f.ask()
	}
	return nil
}

// control works off what the server says about a request.
func (f *feed) control(ctx context.Context, msg *nats.Msg) error {
	status, text := msg.Header.Get("Status"), msg.Header.Get("Description")
	over := status == "408" || status == "404" ||
		status == "409" && (strings.HasPrefix(text, "Batch Completed") || strings.HasPrefix(text, "Message Size Exceeds MaxBytes"))
	switch {
	case status == "100":
		return f.heartbeat(ctx, msg)
	case over && msg.Subject == f.reply():
		return f.ask()
	case over:
		return nil // of a request that was filled before
	}
	return fmt.Errorf("pull request: %s %s", status, text)
}

// heartbeat compares what the server has delivered with what came. Then all up to the stream sequence it names came,
// or is of no interest.
func (f *feed) heartbeat(ctx context.Context, msg *nats.Msg) error {
	delivered, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Consumer"), 10, 64)
	if err != nil {
		return fmt.Errorf("read heartbeat: %w", err)
	}
	if delivered != f.seq {
		return fmt.Errorf("the server delivered %d events, %d came", delivered, f.seq)
	}
	if last, err := strconv.ParseUint(msg.Header.Get("Nats-Last-Stream"), 10, 64); err == nil {
		f.at.last = max(f.at.last, last)
	}
	return tell(ctx, f.words, word{kind: alive, current: true})
}

// state looks whether the stream has dropped what was not delivered yet, which a consumer steps over without a word: a
// purge, or a limit that is reached while the evictor is behind. Everything behind the position of the look before
// was still there now, so it was there when it was delivered.
func (f *feed) state(ctx context.Context, msg *nats.Msg) error {
	var info struct {
		Error   *jetstream.APIError `json:"error"`
		Created time.Time           `json:"created"`
		State   struct {
			First uint64 `json:"first_seq"`
			Last  uint64 `json:"last_seq"`
		} `json:"state"`
	}
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		return fmt.Errorf("look at stream: status %q: %w", msg.Header.Get("Status"), err)
	}
	switch {
	case info.Error != nil:
		return fmt.Errorf("look at stream: %w", info.Error)
	case !info.Created.Equal(f.at.created):
		return errors.New("the stream was made again")
	case info.State.Last < f.looking:
		return fmt.Errorf("the stream ends at %d, and had %d before", info.State.Last, f.looking)
	}
	seen := f.looked
	f.looked, f.unsaid = f.looking, false
	if info.State.First <= seen+1 {
		return nil
	}
	why := fmt.Sprintf("the stream begins at %d now, and was followed to %d before", info.State.First, seen)
	return tell(ctx, f.words, word{kind: gap, why: why})
}
