package event

import (
	"encoding/hex"
	"strconv"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/internal/arena"
)

// A HeaderWriter does what Event.SetHeaders does, for many events without an allocation for each. The slices that Set
// puts into a header stay valid until the next Set. The zero value is ready to use. Not safe for concurrent use.
type HeaderWriter struct {
	cut     arena.Arena
	scratch []byte
	cells   []string // values are slices of it, of length one
}

// Set writes the headers of an event into h, which must not have them yet.
func (w *HeaderWriter) Set(h map[string][]string, e *Event) {
	w.cells = w.cells[:0]
	for name, value := range e.Headers {
		h[name] = w.cell(value)
	}
	text := appendUUID(w.scratch[:0], e.ID)
	id := len(text)
	if e.Position != 0 {
		text = strconv.AppendInt(text, e.Position, 10)
	}
	position := len(text)
	if !e.CreatedAt.IsZero() {
		text = e.CreatedAt.UTC().AppendFormat(text, timeFormat)
	}
	created := len(text)
	if e.ResendOf != uuid.Nil {
		text = appendUUID(text, e.ResendOf)
	}
	w.scratch = text
	all := w.cut.String(text)
	h[HeaderMsgID] = w.cell(all[:id])
	w.unlessEmpty(h, HeaderPosition, all[id:position])
	w.unlessEmpty(h, HeaderTime, all[position:created])
	w.unlessEmpty(h, HeaderResendOf, all[created:])
	w.unlessEmpty(h, HeaderKey, e.Key)
	if e.ContentType != DefaultContentType {
		w.unlessEmpty(h, HeaderContentType, e.ContentType)
	}
}

// Text returns prefix and number as one text, without an allocation of its own.
func (w *HeaderWriter) Text(prefix string, number int64) string {
	w.scratch = strconv.AppendInt(append(w.scratch[:0], prefix...), number, 10)
	return w.cut.String(w.scratch)
}

func (w *HeaderWriter) unlessEmpty(h map[string][]string, name, value string) {
	if value != "" {
		h[name] = w.cell(value)
	}
}

// cell returns the values of a header. When append moves cells, the slices that were returned before keep the old
// array.
func (w *HeaderWriter) cell(value string) []string {
	w.cells = append(w.cells, value)
	n := len(w.cells)
	return w.cells[n-1 : n : n]
}

// appendUUID appends an id in its canonical form.
func appendUUID(to []byte, id uuid.UUID) []byte {
	for i, end := range [...]int{4, 6, 8, 10, 16} {
		start := [...]int{0, 4, 6, 8, 10}[i]
		if i > 0 {
			to = append(to, '-')
		}
		to = hex.AppendEncode(to, id[start:end])
	}
	return to
}
