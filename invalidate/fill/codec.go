package fill

import "encoding/json"

// Codec converts values to the text that is cached and back. Both methods must be safe for concurrent use. If Decode
// returns an error, Get deletes the cached text and loads the value; if Encode returns one, the value is not cached.
// [Config.OnError] receives both errors.
type Codec[V any] interface {
	Encode(value V) ([]byte, error)
	Decode(text []byte) (V, error)
}

// JSON is the default codec. It uses package encoding/json.
type JSON[V any] struct{}

// Encode returns json.Marshal(value).
func (JSON[V]) Encode(value V) ([]byte, error) { return json.Marshal(value) }

// Decode returns what json.Unmarshal makes of text.
func (JSON[V]) Decode(text []byte) (V, error) {
	var value V
	err := json.Unmarshal(text, &value)
	return value, err
}

// Raw caches strings and byte slices unchanged.
type Raw[V ~string | ~[]byte] struct{}

// Encode returns the value. The error is always nil.
func (Raw[V]) Encode(value V) ([]byte, error) { return []byte(value), nil }

// Decode returns the text. The error is always nil.
func (Raw[V]) Decode(text []byte) (V, error) { return V(text), nil }
