package fill

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/slot"
)

// ErrKey is the error for a key, tag or stamp that cannot be used. A key must not be empty, and must not have a } without
// a hash tag (as in a}b or a{}b), because such a key can have no token in its slot. It must not have the form of a token
// either: a { together with the suffix :f. Tags and stamps must not be empty.
var ErrKey = errors.New("unusable key")

// Option changes one Get. The options are [Tags] and [Stamps].
type Option func(*request)

// Tags adds the key to the index of each tag before the load, so that an invalidation of a tag finds the key. An index is
// a ZSET with the name of the tag. The score of a member is the Unix time, in seconds, from which it may be swept: at least
// 60 s after its value has expired. If an index cannot be written, for example because it is a SET, the value is not cached.
func Tags(tags ...string) Option {
	return func(r *request) { r.tags = append(r.tags, tags...) }
}

// Stamps makes a cached value valid only while all stamps are what they were before its load. A stamp is the name of a
// key; UNLINK of that key makes every value under the stamp a miss. The order of the stamps does not matter. Each stamp
// adds one GET to the first step of a Get.
func Stamps(stamps ...string) Option {
	return func(r *request) { r.stamps = append(r.stamps, stamps...) }
}

// A request is what one Get asks for.
type request struct {
	key    string
	token  string // the key of the token
	ttl    time.Duration
	tags   []string
	stamps []string // sorted, without duplicates

	header string // the prefix of a valid value; set by lookup
	down   bool   // Redis returned an error; set by lookup
}

func newRequest(key string, ttl time.Duration, opts []Option) (request, error) {
	r := request{key: key, ttl: ttl}
	var err error
	if r.token, err = tokenOf(key); err != nil {
		return r, err
	}
	if ttl < time.Millisecond {
		return r, fmt.Errorf("invalid ttl %s; want at least 1ms", ttl)
	}
	for _, opt := range opts {
		opt(&r)
	}
	slices.Sort(r.stamps)
	r.stamps = slices.Compact(r.stamps)
	if slices.Contains(r.tags, "") || slices.Contains(r.stamps, "") {
		return r, fmt.Errorf("%w: want a name for each tag and stamp, got an empty one", ErrKey)
	}
	return r, nil
}

// name identifies the flight. Callers that read different stamps must not share one, so the header is part of it.
func (r request) name() string { return r.key + "\n" + r.header }

func tokenOf(key string) (string, error) {
	token, ok := slot.Token(key)
	if !ok {
		return "", fmt.Errorf("%w %q: want a key that is not empty and has no } without a hash tag such as {user:42}", ErrKey, key)
	}
	if strings.HasSuffix(key, ":f") && strings.Contains(key, "{") {
		return "", fmt.Errorf("%w %q: want no suffix :f after a hash tag, which is the form of a token", ErrKey, key)
	}
	return token, nil
}
