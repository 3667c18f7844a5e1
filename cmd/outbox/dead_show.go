package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/dead"
)

func deadShowCommand() *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "print everything about a dead event", UsageText: "outbox dead show --event-id <uuid> | --source <source> --number <n> [flags]",
		Description: `Prints headers and payload, why, when and by which relay or consumer the event was set aside, and whether it can be
replayed. One event may be dead several times. The payload is text if it is UTF-8, else base64.

Examples:
  outbox dead show --event-id 4b6d9a3e-8a0f-4d8b-9a53-6a1d2a9c7f10
  outbox dead show --source parked --number 17 -o json | jq -r '.items[0].payload'`,
		Flags:  deadFlags(100, &cli.IntFlag{Name: "payload-limit", Value: 65536, Usage: "`N` bytes of the payload, at most; 0: all"}),
		Action: action("invalidate", deadShow),
	}
}

type deadShownJSON struct {
	deadJSON
	Relay            string            `json:"relay,omitempty"`
	Position         int64             `json:"position,omitempty"`
	Sequence         uint64            `json:"sequence,omitempty"` // in the stream that the dead letter came from
	CreatedAt        time.Time         `json:"created_at,omitzero"`
	ResendOf         string            `json:"resend_of,omitempty"`
	ContentType      string            `json:"content_type"`
	Headers          map[string]string `json:"headers"`
	Replayable       bool              `json:"replayable"`
	Flaw             string            `json:"flaw,omitempty"` // why it cannot be replayed
	Payload          string            `json:"payload"`
	PayloadEncoding  string            `json:"payload_encoding"` // text or base64
	PayloadBytes     int               `json:"payload_bytes"`
	PayloadTruncated bool              `json:"payload_truncated"`
}

func deadShow(ctx context.Context, s *session) error {
	q, err := readDeadQuery(s.c)
	if err != nil {
		return err
	}
	limit := s.c.Int("payload-limit")
	switch {
	case limit < 0:
		return exit.Usagef(s.c, "flag --payload-limit: want 0 or more, got %d", limit)
	case q.filter.EventID == uuid.Nil && q.filter.Number == 0:
		return exit.Usagef(s.c, "missing --event-id, or --source and --number; run: outbox dead list")
	}
	d, err := openDead(ctx, s, &q, true)
	if err != nil {
		return err
	}
	items := []deadShownJSON{}
	for _, source := range d.sources {
		list, err := dead.List(ctx, &q.filter, q.limit, source)
		if err != nil {
			return s.blameNATS(err)
		}
		for i := range list.First { // one by one, because payloads may be large
			one := list.First[i : i+1]
			if err := dead.In(s.table).Load(ctx, s.pool, source, one); err != nil {
				return s.blameNATS(err)
			}
			items = append(items, newDeadShown(&one[0], limit))
			one[0].Payload = nil
		}
	}
	if len(items) == 0 {
		return fmt.Errorf("no dead event matches; run: outbox dead list; the view %s.trail has the decisions about earlier ones", s.table.Schema())
	}
	return s.print(map[string]any{"items": items, "total": len(items)}, func(w io.Writer) error {
		for i := range items {
			if err := items[i].print(w); err != nil {
				return err
			}
		}
		return nil
	})
}

func newDeadShown(d *dead.Event, limit int) deadShownJSON {
	s := deadShownJSON{
		deadJSON: newDeadJSON(d), Position: d.Position, Sequence: d.Sequence, CreatedAt: d.CreatedAt, ContentType: d.ContentType,
		Headers: d.Headers, Replayable: d.Flaw == nil, PayloadBytes: len(d.Payload),
	}
	if s.Headers == nil {
		s.Headers = map[string]string{}
	}
	if d.ResendOf != uuid.Nil {
		s.ResendOf = d.ResendOf.String()
	}
	if d.Source == dead.SourceParked {
		s.Relay = d.By
	}
	if d.Flaw != nil {
		s.Flaw = d.Flaw.Error()
	}
	isText := utf8.Valid(d.Payload)
	payload := d.Payload
	if limit > 0 && len(payload) > limit {
		payload, s.PayloadTruncated = payload[:limit], true
		for isText && !utf8.Valid(payload) { // the cut is within a character
			payload = payload[:len(payload)-1]
		}
	}
	s.Payload, s.PayloadEncoding = string(payload), "text"
	if !isText {
		s.Payload, s.PayloadEncoding = base64.StdEncoding.EncodeToString(payload), "base64"
	}
	return s
}

func (s *deadShownJSON) print(w io.Writer) error {
	rows := [][]string{{"source", s.Source}, {"number", fmt.Sprint(s.Number)}}
	add := func(name, value string) {
		if value != "" && value != "0" {
			rows = append(rows, []string{name, term.Plain(value)})
		}
	}
	add("event_id", s.EventID)
	add("subject", s.Subject)
	add("key", s.Key)
	add("reason", s.Reason)
	add("detail", s.Detail)
	add("since", term.Time(s.Since))
	add("relay", s.Relay)
	add("consumer", s.Consumer)
	add("position", fmt.Sprint(s.Position))
	add("sequence", fmt.Sprint(s.Sequence))
	if !s.CreatedAt.IsZero() {
		add("created_at", term.Time(s.CreatedAt))
	}
	add("resend_of", s.ResendOf)
	add("content_type", s.ContentType)
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		rows = append(rows, []string{"header " + term.Plain(name), term.Plain(s.Headers[name])})
	}
	if s.Replayable {
		add("replayable", "yes")
	} else {
		add("replayable", "no: "+s.Flaw)
	}
	size := fmt.Sprintf("%d bytes, %s", s.PayloadBytes, s.PayloadEncoding)
	if s.PayloadTruncated {
		size += ", cut; --payload-limit 0 prints all"
	}
	rows = append(rows, []string{"payload", size})
	if err := term.Table(w, nil, rows); err != nil {
		return err
	}
	text := strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s.Payload)
	return printf(w, "\n%s\n\n", text)
}
