package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

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
		Action: withSettings("invalidate", deadList),
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

func newDeadItems(letters []dead.Event) []deadJSON {
	items := make([]deadJSON, len(letters))
	for i := range letters {
		items[i] = newDeadJSON(&letters[i])
	}
	return items
}

func deadList(c *cli.Context, s settings) error {
	q, err := readDeadQuery(c)
	if err != nil {
		return err
	}
	d, err := openDead(c, s, &q, false)
	if err != nil {
		return err
	}
	defer d.close()
	list, err := dead.List(c.Context, &q.filter, q.limit, d.places...)
	if err != nil {
		return d.blame(err)
	}
	if q.asJSON {
		return printJSON(c.App.Writer, deadListJSON{Items: newDeadItems(list.First), Total: list.Total})
	}
	if err := printDead(c.App.Writer, list.First); err != nil {
		return err
	}
	if more := list.Total - len(list.First); more > 0 {
		fmt.Fprintf(c.App.ErrWriter, "%d more; outbox dead list --limit 0 shows all of them\n", more)
	}
	if list.Total == 0 {
		fmt.Fprintln(c.App.ErrWriter, "no such event waits for a person")
	}
	return nil
}

func printDead(w io.Writer, letters []dead.Event) error {
	var rows [][]string
	for i := range letters {
		d := newDeadJSON(&letters[i])
		rows = append(rows, []string{d.Place, fmt.Sprint(d.Number), or(d.EventID, "-"), or(plain(d.Subject), "-"), or(plain(d.Key), "-"),
			clip(plain(d.Reason+": "+d.Detail), 60), age(d.Since)})
	}
	return printTable(w, []string{"PLACE", "ID", "EVENT_ID", "SUBJECT", "KEY", "REASON", "AGE"}, rows)
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// age is how long ago something was, for people.
func age(since time.Time) string {
	d := max(time.Since(since), 0)
	switch {
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < 48*time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// clip cuts a text after so many characters, and says that it did.
func clip(text string, most int) string {
	if utf8.RuneCountInString(text) <= most {
		return text
	}
	return string([]rune(text)[:most-1]) + "…"
}

// plain is a text without what would move the cursor of a terminal or break a table.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return '?'
		}
		return r
	}, text)
}
