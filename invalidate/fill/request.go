package fill

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/slot"
)

// ErrKey says that a key, tag or stamp cannot be used. A key must not be empty, nor hold a } and no hash tag (as a}b or
// a{}b do), since no token can lie beside such a key; nor may it look like a token itself, with a { and :f at its end.
// Tags and stamps must not be empty.
var ErrKey = errors.New("the key cannot be used")

// Option changes one Get.
type Option func(*request)

// Tags adds the key to the index of each tag before the load, so that an invalidation of a tag finds it. An index is a
// ZSET of that name, scored with the unix time in s after which the member may be swept: when the value
// has expired for 60 s at least. An index that cannot be written, such as one that is a SET, leaves the value uncached.
func Tags(tags ...string) Option {
	return func(r *request) { r.tags = append(r.tags, tags...) }
}

// Stamps makes a cached value count only as long as all stamps are what they were before its load. A stamp is the name
// of a key; UNLINK of it makes every value under it a miss. The order does not matter. Each costs a GET per Get.
func Stamps(stamps ...string) Option {
	return func(r *request) { r.stamps = append(r.stamps, stamps...) }
}

// A request is what one Get asks for.
type request struct {
	key    string
	token  string // the key of the token
	ttl    time.Duration
	tags   []string
	stamps []string // sorted, each once

	header string // how a valid value begins; set by look
	down   bool   // Redis did not answer; set by look
}

func newRequest(key string, ttl time.Duration, opts []Option) (request, error) {
	r := request{key: key, ttl: ttl}
	var err error
	if r.token, err = tokenOf(key); err != nil {
		return r, err
	}
	if ttl < time.Millisecond {
		return r, fmt.Errorf("the ttl is %s, it has to be at least 1ms", ttl)
	}
	for _, opt := range opts {
		opt(&r)
	}
	slices.Sort(r.stamps)
	r.stamps = slices.Compact(r.stamps)
	if slices.Contains(r.tags, "") || slices.Contains(r.stamps, "") {
		return r, fmt.Errorf("%w: a tag or stamp is empty", ErrKey)
	}
	return r, nil
}

// name is that of the flight: callers that saw other stamps have another one.
func (r request) name() string { return r.key + "\n" + r.header }

func tokenOf(key string) (string, error) {
	token, ok := slot.Token(key)
	if !ok {
		return "", fmt.Errorf("%w: %q is empty, or its braces leave no place for a token in its slot", ErrKey, key)
	}
	if strings.HasSuffix(key, ":f") && strings.Contains(key, "{") {
		return "", fmt.Errorf("%w: %q may be the token of another key", ErrKey, key)
	}
	return token, nil
}
