package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
)

// A class says what an error means for the event that met it.
type class int

const (
	// unavailable: the broker cannot take it now. Wait and try again, for ever; it costs no attempt.
	unavailable class = iota
	// unknown: it may be stored or not. Read where the stream ends.
	unknown
	// refused: this event will never be taken. Park it, or halt.
	refused
	// duplicate: the stream says it has this message id already, at another place.
	duplicate
)

// doubt ends a window: what became of a position is not known, or is known to be bad. Everything after it was not
// stored either, or will be found by reading the end of the stream.
type doubt struct {
	class    class
	position int64
	sequence uint64 // duplicate: where the stream has it; wrong last sequence: what it has for the last one, if known
	reason   string // refused: one word for outbox.parked
	err      error
}

func (d *doubt) Error() string { return fmt.Sprintf("publish position %d: %v", d.position, d.err) }
func (d *doubt) Unwrap() error { return d.err }

// Reasons in outbox.parked.
const (
	reasonTooLarge    = "too_large"
	reasonNoStream    = "no_stream"
	reasonBadHeader   = "bad_header"
	reasonBadSubject  = "bad_subject"
	reasonDuplicateID = "duplicate_id"
	reasonRejected    = "rejected"
)

// pubAck is the server's answer to a publish.
type pubAck struct {
	Stream    string `json:"stream"`
	Sequence  uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"`
	Error     *struct {
		ErrCode     int    `json:"err_code"`
		Description string `json:"description"`
	} `json:"error"`
}

// errNoResponders: nobody took the message, so no stream covers the subject or JetStream is away.
var errNoResponders = errors.New("no stream took the message (JetStream away, or no stream for its subject)")

// readAck decodes an answer. The class is meaningful with an error only.
func readAck(m *nats.Msg) (ack pubAck, class class, err error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return ack, unavailable, errNoResponders
	}
	if err := json.Unmarshal(m.Data, &ack); err != nil {
		return ack, unknown, fmt.Errorf("decode ack %q: %w", m.Data, err)
	}
	if ack.Error == nil {
		return ack, unknown, nil
	}
	if ack.Error.ErrCode == errWrongLastSequence { // "wrong last sequence: 7" is the only place that has it
		text := ack.Error.Description
		ack.Sequence, _ = strconv.ParseUint(text[strings.LastIndexByte(text, ' ')+1:], 10, 64) // 0 for not known
	}
	return ack, classify(ack.Error.ErrCode), fmt.Errorf("%s (code %d)", ack.Error.Description, ack.Error.ErrCode)
}

// plainAck reads the answer that nearly every publish gets, {"stream":"NAME","seq":N}, without decoding JSON.
// Anything else is readAck's.
func plainAck(data, prefix []byte) (sequence uint64, ok bool) {
	digits, ok := bytes.CutPrefix(data, prefix)
	if !ok || len(digits) < 2 || len(digits) > 20 || digits[len(digits)-1] != '}' {
		return 0, false
	}
	for _, c := range digits[:len(digits)-1] {
		if c < '0' || c > '9' {
			return 0, false
		}
		sequence = sequence*10 + uint64(c-'0')
	}
	return sequence, true
}

// Error codes of nats-server, from its errors.json.
const (
	errMessageTooLarge    = 10054
	errHeaderTooLarge     = 10097
	errStreamMismatch     = 10060 // another stream took it: ours is gone, which reading its end will show
	errWrongLastSequence  = 10071
	errWrongLastConstant  = 10164
	errDuplicateInProcess = 10158
	errRollupFailed       = 10111
	errMessageTTLDisabled = 10166
	errMessageTTLInvalid  = 10165
	errCountersDisabled   = 10168
	errSchedulesDisabled  = 10188
	errSchedulePattern    = 10189
	errAtomicDisabled     = 10174
)

// classify sorts an error of the server. What it does not know is unavailable: waiting loses nothing.
func classify(errCode int) class {
	switch errCode {
	case errWrongLastSequence, errWrongLastConstant, errDuplicateInProcess, errStreamMismatch:
		return unknown
	case errMessageTooLarge, errHeaderTooLarge, errRollupFailed, errMessageTTLDisabled, errMessageTTLInvalid,
		errCountersDisabled, errSchedulesDisabled, errSchedulePattern, errAtomicDisabled:
		return refused
	default:
		return unavailable
	}
}

// refusal is the reason for outbox.parked.
func refusal(errCode int) string {
	switch errCode {
	case errMessageTooLarge:
		return reasonTooLarge
	case errHeaderTooLarge, errRollupFailed, errMessageTTLDisabled, errMessageTTLInvalid, errCountersDisabled, errSchedulesDisabled, errSchedulePattern:
		return reasonBadHeader
	default:
		return reasonRejected
	}
}
