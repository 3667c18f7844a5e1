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

// class is what an error means for the event that was published.
type class int

const (
	// unavailable: the broker cannot accept it now. Wait and retry, indefinitely; no attempt is counted.
	unavailable class = iota
	// unknown: it may or may not be stored. Read where the stream ends.
	unknown
	// refused: the server will never accept this event. Park it, or halt.
	refused
	// duplicate: the stream already has this message id, at another sequence.
	duplicate
)

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

// errNoResponders reports that nobody received the message.
var errNoResponders = errors.New("no stream received the message: JetStream is not available, or no stream covers its subject")

// readAck decodes an answer. The class is only meaningful with an error.
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
	if ack.Error.ErrCode == errWrongLastSequence { // only the text has the sequence: "wrong last sequence: 7"
		text := ack.Error.Description
		ack.Sequence, _ = strconv.ParseUint(text[strings.LastIndexByte(text, ' ')+1:], 10, 64) // 0 if not known
	}
	return ack, classify(ack.Error.ErrCode), fmt.Errorf("%s (code %d)", ack.Error.Description, ack.Error.ErrCode)
}

// plainAck reads the answer to nearly every publish, {"stream":"NAME","seq":N}, without decoding JSON. Any other answer
// is left to readAck.
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
	errStreamMismatch     = 10060 // another stream received it: ours was deleted, which resume finds
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

// classify sorts an error of the server. An unknown code is unavailable, because waiting loses nothing.
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

// refusal is the reason to write to outbox.parked.
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
