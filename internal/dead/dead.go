package dead

import (
	"context"
	"iter"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

// Places where events wait for a person, as Dead.Place says them.
const (
	SourceParked  = "parked"  // rows of outbox.parked: events that the stream refuses for ever
	SourceLetters = "dead-letters" // messages of the dead-letter stream: events that a consumer can never work off
)

// Event is an event that was set aside, and waits for a person to decide about it.
type Event struct {
	event.Event // without payload and headers until it is loaded

	Place    string    // SourceParked or SourceLetters
	Source   string    // of decisions: "parked", or the dead-letter stream and when it was made
	Number   int64     // in the place: position, or sequence of the dead-letter stream
	Reason   string    // one word
	Detail   string    // a sentence
	Since    time.Time // when it was set aside
	By       string    // the relay or the consumer that did it
	Sequence uint64    // a letter's: where the event lies in the stream it came from
	Size     int       // bytes of the payload, known before it is loaded

	// Stored and Copy tell this letter from another one that has its sequence after the stream went back: when the stream
	// took it, and the id that its copy will have. Both are zero for a parked event, whose copy has a random id.
	Stored time.Time
	Copy   uuid.UUID

	Flaw error // why it cannot be replayed, once it is loaded; nil when it can
}

// A Source holds dead events, in the order of their numbers. What comes to it after it was opened is not looked at.
type Source interface {
	// Scan yields the events above a number that the filter takes, lowest first, without payload and headers.
	Scan(ctx context.Context, f *Filter, after int64) iter.Seq2[Event, error]
	// Load fills in what the place itself holds of events, and their Flaw.
	Load(ctx context.Context, dead []Event) error
	// Forget lets go of events after the decision about them was committed. It may be asked twice.
	Forget(ctx context.Context, dead []Event) error
}

// Filter chooses among dead events. The zero value takes all of them.
type Filter struct {
	Number  int64          // in its place
	EventID uuid.UUID      // whole
	Reason  string         // the word, or a part of the detail
	Subject *regexp.Regexp // see SubjectPattern
	From    time.Time      // set aside then or later
	Until   time.Time      // set aside then or earlier
}

// Takes says whether the filter chooses an event.
func (f *Filter) Takes(d *Event) bool {
	switch {
	case f.Number != 0 && d.Number != f.Number,
		f.EventID != uuid.Nil && d.ID != f.EventID,
		f.Reason != "" && d.Reason != f.Reason && !strings.Contains(d.Detail, f.Reason),
		f.Subject != nil && !f.Subject.MatchString(d.Subject),
		!f.From.IsZero() && d.Since.Before(f.From),
		!f.Until.IsZero() && d.Since.After(f.Until):
		return false
	}
	return true
}

// Listing is what waits, as a whole.
type Listing struct {
	First    []Event        // as many as were asked for, without payload and headers
	Total    int            // how many there are
	Subjects map[string]int // how many of each subject, for the first thousand subjects that were met
	Others   int            // how many of other subjects
}

const maxDeadSubjects = 1000

// List looks through places, one after the other, and returns the first limit events that the filter takes, or all
// when limit is 0.
func List(ctx context.Context, f *Filter, limit int, places ...Source) (Listing, error) {
	list := Listing{Subjects: make(map[string]int)}
	for _, place := range places {
		for d, err := range place.Scan(ctx, f, 0) {
			if err != nil {
				return Listing{}, err
			}
			list.Total++
			if limit == 0 || len(list.First) < limit {
				list.First = append(list.First, d)
			}
			if _, known := list.Subjects[d.Subject]; known || len(list.Subjects) < maxDeadSubjects {
				list.Subjects[d.Subject]++
			} else {
				list.Others++
			}
		}
	}
	return list, nil
}
