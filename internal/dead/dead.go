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

// Sources of dead events, for Event.Source.
const (
	SourceParked      = "parked"       // rows of outbox.parked: events that the stream will never accept
	SourceDeadLetters = "dead-letters" // messages of the dead-letter stream: events that a consumer cannot process
)

// Event is an event that waits for the decision of a person.
type Event struct {
	event.Event // without Payload and Headers until it is loaded

	Source   string    // SourceParked or SourceDeadLetters
	Origin   string    // source of its decision: "parked", or the name and creation time of the dead-letter stream
	Number   int64     // in the source: position, or sequence of the dead-letter stream
	Reason   string    // one word
	Detail   string    // a sentence
	Since    time.Time // when it died
	By       string    // the relay or consumer that gave up on it
	Sequence uint64    // of a dead letter: sequence of the event in the stream that it came from
	Size     int       // bytes of the payload, also before it is loaded

	// Stored is when the dead-letter stream stored the letter, and Copy the id that a copy of it will have. They
	// distinguish the letter from another one that gets its sequence if the stream loses messages. Both are zero for
	// a parked event, whose copy gets a random id.
	Stored time.Time
	Copy   uuid.UUID

	Flaw error // why it cannot be replayed; nil if it can. Set when it is loaded
}

// A Source has dead events in the order of their numbers. It leaves out those that died after it was opened.
type Source interface {
	// Scan yields the events with numbers above after that match the filter, lowest first, without payload and headers.
	Scan(ctx context.Context, f *Filter, after int64) iter.Seq2[Event, error]
	// Load sets what the source itself has of the events, and their Flaw.
	Load(ctx context.Context, dead []Event) error
	// Forget removes events from the source, after a decision about them was committed. It may be called again for
	// the same events.
	Forget(ctx context.Context, dead []Event) error
}

// Filter selects dead events. The zero value selects all.
type Filter struct {
	Number  int64 // number in the source
	EventID uuid.UUID
	Reason  string         // the reason, or a part of the detail
	Subject *regexp.Regexp // see event.SubjectPattern
	From    time.Time      // died at or after
	Until   time.Time      // died at or before
}

// Matches reports whether the filter selects an event.
func (f *Filter) Matches(d *Event) bool {
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

// Listing is a summary of dead events.
type Listing struct {
	First    []Event        // the first events, without payload and headers
	Total    int            // number of events
	Subjects map[string]int // events by subject, of the first thousand subjects
	Others   int            // events of other subjects
}

const maxSubjects = 1000

// List reads sources, one after the other. The listing names the first limit events that match the filter, or all if
// limit is 0, and counts all of them.
func List(ctx context.Context, f *Filter, limit int, sources ...Source) (Listing, error) {
	list := Listing{Subjects: make(map[string]int)}
	for _, source := range sources {
		for d, err := range source.Scan(ctx, f, 0) {
			if err != nil {
				return Listing{}, err
			}
			list.Total++
			if limit == 0 || len(list.First) < limit {
				list.First = append(list.First, d)
			}
			if _, known := list.Subjects[d.Subject]; known || len(list.Subjects) < maxSubjects {
				list.Subjects[d.Subject]++
			} else {
				list.Others++
			}
		}
	}
	return list, nil
}
