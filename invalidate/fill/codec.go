package fill

import "encoding/json"

// Codec turns values into the text that is cached and back. Both methods must be safe for concurrent use. An error of
// Decode makes Get delete the text and load; an error of Encode leaves the value uncached.
type Codec[V any] interface {
	Encode(value V) ([]byte, error)
	Decode(text []byte) (V, error)
}

// JSON is the codec of package encoding/json.
type JSON[V any] struct{}

// Encode is json.Marshal.
func (JSON[V]) Encode(value V) ([]byte, error) { return json.Marshal(value) }

// Decode is json.Unmarshal.
func (JSON[V]) Decode(text []byte) (V, error) {
	var value V
	err := json.Unmarshal(text, &value)
	return value, err
}

// Raw caches text as it is.
type Raw[V ~string | ~[]byte] struct{}

// Encode returns the value. The error is always nil.
func (Raw[V]) Encode(value V) ([]byte, error) { return []byte(value), nil }

// Decode returns the text. The error is always nil.
func (Raw[V]) Decode(text []byte) (V, error) { return V(text), nil }
