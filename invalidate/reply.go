package invalidate

import (
	"strconv"
	"strings"
	"time"
)

// Replies of messages tell where they stand, without the allocations of Metadata. They read
// $JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<consumer's sequence>.<nanoseconds>.<pending> or, with a domain,
// $JS.ACK.<domain>.<account>.<stream>… (NATS ADR-15).
const (
	replyDelivered = 4
	replySequence  = 5
	replyTime      = 7
)

// replyToken returns one of the tokens of a reply, "" if there is none.
func replyToken(reply string, n int) string {
	if strings.Count(reply, ".") > 8 {
		n += 2
	}
	for range n {
		_, reply, _ = strings.Cut(reply, ".")
	}
	token, _, _ := strings.Cut(reply, ".")
	return token
}

// redelivered says whether a message was delivered before.
func redelivered(reply string) bool {
	times := replyToken(reply, replyDelivered)
	return times != "1" && times != ""
}

// storedAt returns when a message came into the stream, by the clock of the server; zero if the reply does not say.
func storedAt(reply string) time.Time {
	ns, err := strconv.ParseInt(replyToken(reply, replyTime), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// sequence returns where in the stream a message is; 0 if the reply does not say.
func sequence(reply string) uint64 {
	n, _ := strconv.ParseUint(replyToken(reply, replySequence), 10, 64)
	return n
}
