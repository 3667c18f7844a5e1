package demo

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a demo counted. The clock of a delay starts when PostgreSQL writes the commit; on a given server
// without track_commit_timestamp it starts with the insert of the event, which is earlier. Those of CommitToStream and CommitToEvicted are of the events that were not under way while
// something was broken on purpose; those WithFaults are of all events, and mostly tell for how long something was broken.
type Report struct {
	DurationS float64 `json:"duration_s"` // of the load, as asked for
	TookS     float64 `json:"took_s"`     // until everything was published and consumed

	Transactions     int64   `json:"transactions"` // by the count of pgbench
	TransactionsPerS float64 `json:"transactions_per_s"`
	History          int64   `json:"history_rows"` // that pgbench wrote, one in each transaction
	Unchanged        int64   `json:"unchanged"`    // of these, changes by zero: no event

	Committed   int64 `json:"committed"`   // events in the outbox
	Published   int64 `json:"published"`   // of these, in the stream
	Invalidated int64 `json:"invalidated"` // of these, events whose keys Redis said yes to delete
	Lost        int64 `json:"lost"`        // committed, not in the stream
	Duplicates  int64 `json:"duplicates"`  // stored more than once
	Reordered   int64 `json:"reordered"`   // per key, or against their positions
	Foreign     int64 `json:"foreign"`     // in the stream, not committed
	Uncaptured  int64 `json:"uncaptured"`  // transactions that should have made an event, and made none
	Echoed      int64 `json:"echoed"`      // of these, events whose keys were deleted once more
	StaleKeys   int64 `json:"stale_keys"`  // cached values that are not those of their rows

	RelayKills     int     `json:"relay_kills"`
	BrokerStops    int     `json:"broker_stops"`
	BrokerStoppedS float64 `json:"broker_stopped_s"`
	CatchUpS       float64 `json:"catch_up_s"` // from the start of the broker to the end of the backlog; 0: later than the load
	MaxPending     int64   `json:"max_pending"`

	CommitToStream            Quantiles `json:"commit_to_stream_ms"`
	CommitToEvicted           Quantiles `json:"commit_to_evicted_ms"`
	CommitToStreamWithFaults  Quantiles `json:"commit_to_stream_with_faults_ms"`
	CommitToEvictedWithFaults Quantiles `json:"commit_to_evicted_with_faults_ms"`

	EchoS           float64 `json:"echo_s"` // after a change, its key is deleted once more
	CachedKeys      int64   `json:"cached_keys"`
	DeletedKeys     int64   `json:"deleted_keys"`      // that were in Redis when they were to be deleted at once
	EchoDeletedKeys int64   `json:"echo_deleted_keys"` // that were there again when they were to be deleted once more
	SlowReads       int64   `json:"slow_reads"`        // readers that took their time between the row and the cache
	StaleFills      int64   `json:"stale_fills"`       // of these, those that filled the cache with what was no longer true
	Hits            int64   `json:"hits"`
	Misses          int64   `json:"misses"`

	Versions Versions `json:"versions"`

	brokerGiven bool
}

// Versions are those of the servers.
type Versions struct {
	Postgres string `json:"postgres"`
	NATS     string `json:"nats"`
	Redis    string `json:"redis"`
}

// Broken names the promises that were broken, none if all were kept.
func (r *Report) Broken() []string {
	var out []string
	for _, p := range []struct {
		count int64
		what  string
	}{
		{r.Lost, "lost"}, {r.Duplicates, "stored twice"}, {r.Reordered, "out of order"}, {r.Foreign, "never committed"},
		{r.Uncaptured, "not captured"}, {r.Committed - r.Invalidated, "not consumed"},
		{r.Committed - r.Echoed, "not deleted once more"}, {r.StaleKeys, "stale in the cache"},
	} {
		if p.count != 0 {
			out = append(out, thousands(p.count)+" "+p.what)
		}
	}
	return out
}

// Print writes the report for people, 80 columns wide.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	row := func(name string, columns ...string) {
		fmt.Fprintf(t, "%s\t%s\n", name, strings.Join(columns, "\t"))
	}
	row("PROMISE", "BROKEN", "AMONG")
	row("a committed event is in the stream", thousands(r.Lost), thousands(r.Committed)+" events")
	row("it is there once", thousands(r.Duplicates), "")
	row("and in the order of the commits, per key", thousands(r.Reordered), "")
	row("nothing is there that was not committed", thousands(r.Foreign), "")
	row("every change of a row became an event", thousands(r.Uncaptured), thousands(r.History-r.Unchanged)+" changes")
	row("every event was taken to Redis", thousands(r.Committed-r.Invalidated), thousands(r.Committed)+" events")
	row("and once more, "+short(time.Duration(r.EchoS*float64(time.Second)))+" later", thousands(r.Committed-r.Echoed), thousands(r.Committed)+" events")
	row("no cached value is older than its row", thousands(r.StaleKeys), thousands(r.CachedKeys)+" keys")
	row("", "", "")
	row("DELAY, ms", "p50", "p99", "p99 with the faults")
	row("commit → stream", ms(r.CommitToStream.P50), ms(r.CommitToStream.P99), ms(r.CommitToStreamWithFaults.P99))
	row("commit → evicted", ms(r.CommitToEvicted.P50), ms(r.CommitToEvicted.P99), ms(r.CommitToEvictedWithFaults.P99))
	t.Flush() //nolint:errcheck // a Builder never fails
	b.WriteString("\n")
	for _, paragraph := range r.story() {
		b.WriteString(wrap(paragraph, 78) + "\n\n")
	}
	b.WriteString(next)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("print report: %w", err)
	}
	return nil
}

// story says what happened, in paragraphs.
func (r *Report) story() []string {
	work := fmt.Sprintf("In %s pgbench committed %s transactions (%.0f/s), by its own count; %s of them changed a balance by zero, "+
		"and the other %s are the events in the outbox. ", short(time.Duration(r.DurationS*float64(time.Second))),
		thousands(r.Transactions), r.TransactionsPerS, thousands(r.Unchanged), thousands(r.Committed))
	faults := fmt.Sprintf("Meanwhile the relay was killed with kill -9 (%d×) and the broker stopped (%d×, %.0f s): up to %s events waited in "+
		"the table", r.RelayKills, r.BrokerStops, r.BrokerStoppedS, thousands(r.MaxPending))
	if r.brokerGiven {
		faults = fmt.Sprintf("Meanwhile the relay was killed with kill -9 (%d×); the broker was given by URL and not touched. Up to %s events "+
			"waited in the table", r.RelayKills, thousands(r.MaxPending))
	}
	if r.CatchUpS > 0 {
		faults += fmt.Sprintf(", and were published %.1f s after it was back", r.CatchUpS)
	}
	faults += "; commits went on meanwhile."
	cache := fmt.Sprintf("%s reads went through Redis (%s of them hits); changes deleted %s cached values, %s were cached at the end. ",
		thousands(r.Hits+r.Misses), percent(r.Hits, r.Hits+r.Misses), thousands(r.DeletedKeys), thousands(r.CachedKeys))
	cache += fmt.Sprintf("Each of them was compared with its row. Plain cache-aside has a race that no single delete can win: a reader reads the row, "+
		"the row changes, its key is deleted, and then the reader fills the cache with what it read. %s readers took up to %s over that, on purpose, "+
		"and %s filled in what was no longer true, for an hour; so each key is deleted once more %s after its change (the echo).",
		thousands(r.SlowReads), short(slowest), thousands(r.StaleFills), short(time.Duration(r.EchoS*float64(time.Second))))
	verdict := "Every promise was kept."
	if broken := r.Broken(); len(broken) > 0 {
		verdict = "PROMISES WERE BROKEN: " + strings.Join(broken, ", ") + "."
	}
	servers := fmt.Sprintf("PostgreSQL %s (fsync on where it is ours), nats-server %s, Redis %s.", r.Versions.Postgres, r.Versions.NATS, r.Versions.Redis)
	return []string{work + faults, cache, verdict + " " + servers}
}

const next = `Try this next:
  outbox demo --clients 16 --rate 2000       more load
  outbox demo --keep                         and look around while it runs
  outbox migrate up --database-url …         the outbox, in your own database
  outbox attach --table users --subject 'users.{id}.updated'
`

// wrap breaks a text into lines of at most so many characters.
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

// thousands writes 12034 as 12,034.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	digits := strings.TrimPrefix(text, "-")
	sign := text[:len(text)-len(digits)]
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

func ms(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

func percent(part, of int64) string {
	return fmt.Sprintf("%.0f %%", 100*float64(part)/float64(max(of, 1)))
}

// short is a duration to a tenth of a second: 12.3 s.
func short(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
