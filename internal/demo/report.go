package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/report"
)

// A Report is the result of a run. Delays count from the commit in PostgreSQL; on a given server without
// track_commit_timestamp they count from the insert of the event, which is earlier. CommitToStream and CommitToEvicted cover
// the events that no fault disturbed. The fields WithFaults cover all events and mostly show how long the faults lasted.
type Report struct {
	DurationS float64 `json:"duration_s"` // of the load, as configured
	TookS     float64 `json:"took_s"`     // until everything was published and consumed

	Transactions     int64   `json:"transactions"` // as counted by pgbench
	TransactionsPerS float64 `json:"transactions_per_s"`
	History          int64   `json:"history_rows"` // rows that pgbench wrote, one for each transaction
	Unchanged        int64   `json:"unchanged"`    // rows of History that record a change by zero, which is no event

	Committed   int64 `json:"committed"`   // events in the outbox
	Published   int64 `json:"published"`   // events of Committed that are in the stream
	Invalidated int64 `json:"invalidated"` // events of Committed for which Redis confirmed the delete
	Lost        int64 `json:"lost"`        // events of Committed that are not in the stream
	Duplicates  int64 `json:"duplicates"`  // messages whose event was already in the stream
	Reordered   int64 `json:"reordered"`   // events out of the order of their key or of their positions
	Foreign     int64 `json:"foreign"`     // messages of no committed event
	Uncaptured  int64 `json:"uncaptured"`  // transactions that changed a row and caused no event
	Echoed      int64 `json:"echoed"`      // events of Committed whose keys the echo deleted again
	StaleKeys   int64 `json:"stale_keys"`  // cached values that differ from their rows

	RelayKills     int     `json:"relay_kills"`
	BrokerStops    int     `json:"broker_stops"`
	BrokerStoppedS float64 `json:"broker_stopped_s"`
	CatchUpS       float64 `json:"catch_up_s"` // from the restart of the broker to the end of its backlog; 0: not while the load ran
	MaxPending     int64   `json:"max_pending"`

	CommitToStream            Quantiles `json:"commit_to_stream_ms"`
	CommitToEvicted           Quantiles `json:"commit_to_evicted_ms"`
	CommitToStreamWithFaults  Quantiles `json:"commit_to_stream_with_faults_ms"`
	CommitToEvictedWithFaults Quantiles `json:"commit_to_evicted_with_faults_ms"`

	EchoS           float64 `json:"echo_s"` // delay of the echo
	CachedKeys      int64   `json:"cached_keys"`
	DeletedKeys     int64   `json:"deleted_keys"`      // keys that existed when they were deleted at once
	EchoDeletedKeys int64   `json:"echo_deleted_keys"` // keys that existed again when the echo deleted them
	SlowReads       int64   `json:"slow_reads"`        // fills that were delayed on purpose
	StaleFills      int64   `json:"stale_fills"`       // fills of SlowReads with a value that had changed meanwhile
	Hits            int64   `json:"hits"`
	Misses          int64   `json:"misses"`

	Versions report.Versions `json:"versions"`

	brokerGiven bool
}

// Broken names the promises that were broken; none if all were kept.
func (r *Report) Broken() []string {
	var out []string
	for _, p := range []struct {
		count int64
		what  string
	}{
		{r.Lost, "lost"}, {r.Duplicates, "stored twice"}, {r.Reordered, "out of order"}, {r.Foreign, "never committed"},
		{r.Uncaptured, "not captured"}, {r.Committed - r.Invalidated, "not consumed"},
		{r.Committed - r.Echoed, "not deleted again"}, {r.StaleKeys, "stale in the cache"},
	} {
		if p.count != 0 {
			out = append(out, thousands(p.count)+" "+p.what)
		}
	}
	return out
}

// Print writes the report as text, 80 columns wide.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name string, columns ...string) {
		fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(columns, "\t"))
	}
	events := thousands(r.Committed) + " events"
	row("PROMISE", "BROKEN", "OUT OF")
	row("every committed event is in the stream", thousands(r.Lost), events)
	row("it is there only once", thousands(r.Duplicates), events)
	row("events of a key are in commit order", thousands(r.Reordered), events)
	row("nothing uncommitted is in the stream", thousands(r.Foreign), events)
	row("every change of a row became an event", thousands(r.Uncaptured), thousands(r.History-r.Unchanged)+" changes")
	row("every event deleted its key from Redis", thousands(r.Committed-r.Invalidated), events)
	row("and again "+short(time.Duration(r.EchoS*float64(time.Second)))+" later (the echo)", thousands(r.Committed-r.Echoed), events)
	row("no cached value differs from its row", thousands(r.StaleKeys), thousands(r.CachedKeys)+" keys")
	row("", "", "")
	row("DELAY, ms", "p50", "p99", "p99 with the faults")
	row("commit → stream", ms(r.CommitToStream.P50), ms(r.CommitToStream.P99), ms(r.CommitToStreamWithFaults.P99))
	row("commit → evicted", ms(r.CommitToEvicted.P50), ms(r.CommitToEvicted.P99), ms(r.CommitToEvictedWithFaults.P99))
	t.Flush() //nolint:errcheck // a Builder never fails
	b.WriteString("\n")
	for _, paragraph := range []string{r.workText(), r.cacheText(), r.verdictText()} {
		b.WriteString(wrap(paragraph, 78) + "\n\n")
	}
	b.WriteString(next)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// workText describes the load and the faults.
func (r *Report) workText() string {
	text := fmt.Sprintf("In %s pgbench committed %s transactions (%.0f/s, as it counted them). %s of them changed a balance by zero; "+
		"the other %s are the events in the outbox. Meanwhile the relay was killed with kill -9 (%d×)", short(time.Duration(r.DurationS*float64(time.Second))),
		thousands(r.Transactions), r.TransactionsPerS, thousands(r.Unchanged), thousands(r.Committed), r.RelayKills)
	if r.brokerGiven {
		text += "; the broker was given by URL and not touched."
	} else {
		text += fmt.Sprintf(" and the broker was stopped (%d×, %.0f s).", r.BrokerStops, r.BrokerStoppedS)
	}
	text += fmt.Sprintf(" Commits continued, and up to %s events waited in the table", thousands(r.MaxPending))
	if r.CatchUpS > 0 {
		text += fmt.Sprintf("; they were published %.1f s after the broker was back", r.CatchUpS)
	}
	return text + "."
}

// cacheText describes what happened to the cache.
func (r *Report) cacheText() string {
	return fmt.Sprintf("%s reads went through Redis (%s hits). Changes deleted %s cached values; %s were cached at the end, and each was compared with its row. ",
		thousands(r.Hits+r.Misses), percent(r.Hits, r.Hits+r.Misses), thousands(r.DeletedKeys), thousands(r.CachedKeys)) +
		fmt.Sprintf("Plain cache-aside has a race that one delete cannot win: a reader reads the row, the row changes, its key is deleted, and then the reader "+
			"fills the cache with the old value. On purpose, %s readers took up to %s to fill the cache, and %s of them filled it with an old value. "+
			"Therefore each key is deleted again %s after its change (the echo).",
			thousands(r.SlowReads), short(slowest), thousands(r.StaleFills), short(time.Duration(r.EchoS*float64(time.Second))))
}

// verdictText names the broken promises and the versions of the servers.
func (r *Report) verdictText() string {
	text := "Every promise was kept."
	if broken := r.Broken(); len(broken) > 0 {
		text = "PROMISES WERE BROKEN: " + strings.Join(broken, ", ") + "."
	}
	return text + fmt.Sprintf(" PostgreSQL %s (fsync on if the demo started it), nats-server %s, Redis %s.", r.Versions.Postgres, r.Versions.NATS, r.Versions.Redis)
}

const next = `Try this next:
  outbox-dev demo --clients 16 --rate 2000   more load
  outbox-dev demo --keep                     keep the servers running afterwards
  outbox migrate up --database-url …         the outbox in your own database
  outbox attach --table users --subject 'users.{id}.updated'
`

// wrap breaks a text into lines of at most width characters.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for word := range strings.FieldsSeq(text) {
		n := len([]rune(word))
		switch {
		case column == 0:
		case column+1+n > width:
			b.WriteString("\n")
			column = 0
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += n
	}
	return b.String()
}

func thousands(n int64) string { return report.Thousands(n) }

func ms(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func percent(part, of int64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(max(of, 1)))
}

// short formats a duration to a tenth of a second: 12.3 s.
func short(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
