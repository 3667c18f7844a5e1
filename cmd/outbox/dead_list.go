package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/term"
	"github.com/seed-6eff6314/outbox-relay/internal/dead"
)

func deadListCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the events that wait for a person", UsageText: "outbox dead list [flags]",
		Description: `Lists parked events by their position, then letters by their sequence in the dead-letter stream. A letter that stays
listed after a replay was interrupted is deleted by the next one, and not replayed again.

Examples:
  outbox dead list
  outbox dead list --place parked --older-than 1h
  outbox dead list --subject 'users.>' -o json | jq .total`,
		Flags:  deadFlags(100),
		Action: action("invalidate", deadList),
	}
}

type deadJSON struct {
	Place    string    `json:"place"`
	Number   int64     `json:"number"`
	EventID  string    `json:"event_id"` // empty: no relay published it
	Subject  string    `json:"subject"`
	Key      string    `json:"key"`
	Reason   string    `json:"reason"`
	Detail   string    `json:"detail"`
	Since    time.Time `json:"since"`
	Consumer string    `json:"consumer,omitempty"`
}

type deadListJSON struct {
	Items []deadJSON `json:"items"`
	Total int        `json:"total"`
}

func newDeadJSON(d *dead.Event) deadJSON {
	item := deadJSON{Place: d.Source, Number: d.Number, Subject: d.Subject, Key: d.Key, Reason: d.Reason, Detail: d.Detail, Since: d.Since}
	if d.ID != uuid.Nil {
		item.EventID = d.ID.String()
	}
	if d.Source == dead.SourceDeadLetters {
		item.Consumer = d.By
	}
	return item
}

func newDeadItems(events []dead.Event) []deadJSON {
	items := make([]deadJSON, len(events))
	for i := range events {
		items[i] = newDeadJSON(&events[i])
	}
	return items
}

func deadList(ctx context.Context, s *session) error {
	q, err := readDeadQuery(s.c)
	if err != nil {
		return err
	}
	d, err := openDead(ctx, s, &q, false)
	if err != nil {
		return err
	}
	list, err := dead.List(ctx, &q.filter, q.limit, d.places...)
	if err != nil {
		return s.blameNATS(err)
	}
	return s.print(deadListJSON{Items: newDeadItems(list.First), Total: list.Total}, func(w io.Writer) error {
		if err := printDead(w, list.First); err != nil {
			return err
		}
		if more := list.Total - len(list.First); more > 0 {
			s.notef("%d more; outbox dead list --limit 0 shows all of them\n", more)
		}
		if list.Total == 0 {
			s.notef("no such event waits for a person\n")
		}
		return nil
	})
}

func printDead(w io.Writer, events []dead.Event) error {
	var rows [][]string
	for i := range events {
		d := newDeadJSON(&events[i])
		rows = append(rows, []string{d.Place, fmt.Sprint(d.Number), cmp.Or(d.EventID, "-"), cmp.Or(term.Plain(d.Subject), "-"), cmp.Or(term.Plain(d.Key), "-"),
			term.Clip(term.Plain(d.Reason+": "+d.Detail), 60), term.Age(d.Since)})
	}
	return term.Table(w, []string{"PLACE", "ID", "EVENT_ID", "SUBJECT", "KEY", "REASON", "AGE"}, rows)
}
