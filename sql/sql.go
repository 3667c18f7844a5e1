// Package sql holds every statement and migration that this project sends, as text. Each file runs unmodified in
// psql on the default schema; For gives the same texts for another one. It is a leaf: it imports nothing of ours.
package sql

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql queries/*.sql
var files embed.FS

// DefaultSchema is the schema that the files name.
const DefaultSchema = "outbox"

// Statements are the texts for one schema, each named after its file in queries/.
type Statements struct {
	Schema  string
	Channel string // of NOTIFY

	Adopt, AdoptLock, Attach, Attached, AuditAbsent, AuditAccepted, AuditBatch, AuditBounds, AuditCopy, AuditGone string
	AuditIDs, AuditKnown, AuditOrphans, AuditPlan, AuditRuns, AuditSettings, AuditSpan, AuditUnplanned, Awake     string
	BackfillHolders, BackfillLook, BackfillSpec, BackfillStep, BaseInsert, Bases, Blocked, Cluster, ClusterInsert string
	Cursor, DeadDecide, DeadDecided, DeadLast, DeadParked, DeadRows, Detach, DroppedSince, Extend, Insert         string
	JobAnnounce, JobList, JobStart, Keep, Lead, Load, MigrationInsert, MigrationList, MigrationLock               string
	MigrationTable, Net, Nudge, Oldest, Park, PartitionDrop, PartitionEmpty, Partitions, Pause, Paused, Pauses    string
	Plan, PlannedAfter, PositionsOfIDs, Pulse, ReceiptInsert, ReceiptLast, Recent, Replan, ReplayLook, ReplayRows string
	ReplayStep, Replicas, Resume, Session, Sleep, Status, TrailEvent, TrailID, TrailKey, Quick, Unparked          string
}

// Migration is one numbered step of the schema.
type Migration struct {
	Version int    // from 1, without a gap
	Name    string // for example "outbox"
	SQL     string
}

// schemaName is strict so that a quoted schema is safe inside string literals too.
var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$-]{0,47}$`)

// qualifier finds the schema where the files use it: always before a dot.
var qualifier = regexp.MustCompile(`\boutbox\.`)

// For returns the statements for a schema of 1 to 48 letters, digits, _ - and $, beginning with a letter or _.
func For(schema string) (Statements, error) {
	if !schemaName.MatchString(schema) {
		return Statements{}, fmt.Errorf("schema name %q: want 1 to 48 of A-Z a-z 0-9 _ - $, beginning with a letter or _", schema)
	}
	q := func(name string) string { return In(schema, read("queries/"+name+".sql")) }
	return Statements{
		Schema:          schema,
		Channel:         In(schema, "outbox.wake"),
		Adopt:           q("adopt"),
		AdoptLock:       q("adopt_lock"),
		Attach:          q("attach"),
		Attached:        q("attached"),
		AuditAbsent:     q("audit_absent"),
		AuditAccepted:   q("audit_accepted"),
		AuditBatch:      q("audit_batch"),
		AuditBounds:     q("audit_bounds"),
		AuditCopy:       q("audit_copy"),
		AuditGone:       q("audit_gone"),
		AuditIDs:        q("audit_ids"),
		AuditKnown:      q("audit_known"),
		AuditOrphans:    q("audit_orphans"),
		AuditPlan:       q("audit_plan"),
		AuditRuns:       q("audit_runs"),
		AuditSettings:   q("audit_settings"),
		AuditSpan:       q("audit_span"),
		AuditUnplanned:  q("audit_unplanned"),
		Awake:           q("awake"),
		BackfillHolders: q("backfill_holders"),
		BackfillLook:    q("backfill_look"),
		BackfillSpec:    q("backfill_spec"),
		BackfillStep:    q("backfill_step"),
		BaseInsert:      q("base_insert"),
		Bases:           q("bases"),
		Blocked:         q("blocked"),
		Cluster:         q("cluster"),
		ClusterInsert:   q("cluster_insert"),
		Cursor:          q("cursor"),
		DeadDecide:      q("dead_decide"),
		DeadDecided:     q("dead_decided"),
		DeadLast:        q("dead_last"),
		DeadParked:      q("dead_parked"),
		DeadRows:        q("dead_rows"),
		Detach:          q("detach"),
		DroppedSince:    q("dropped_since"),
		Extend:          q("extend"),
		Insert:          q("insert"),
		JobAnnounce:     q("job_announce"),
		JobList:         q("job_list"),
		JobStart:        q("job_start"),
		Keep:            q("keep"),
		Lead:            q("lead"),
		Load:            q("load"),
		MigrationInsert: q("migration_insert"),
		MigrationList:   q("migration_list"),
		MigrationLock:   q("migration_lock"),
		MigrationTable:  q("migration_table"),
		Net:             q("net"),
		Nudge:           q("nudge"),
		Oldest:          q("oldest"),
		Park:            q("park"),
		PartitionDrop:   q("partition_drop"),
		PartitionEmpty:  q("partition_empty"),
		Partitions:      q("partitions"),
		Pause:           q("pause"),
		Paused:          q("paused"),
		Pauses:          q("pauses"),
		Quick:           q("quick"),
		Plan:            q("plan"),
		PlannedAfter:    q("planned_after"),
		PositionsOfIDs:  q("positions_of_ids"),
		Pulse:           q("pulse"),
		ReceiptInsert:   q("receipt_insert"),
		ReceiptLast:     q("receipt_last"),
		Recent:          q("recent"),
		Replan:          q("replan"),
		ReplayLook:      q("replay_look"),
		ReplayRows:      q("replay_rows"),
		ReplayStep:      q("replay_step"),
		Replicas:        q("replicas"),
		Resume:          q("resume"),
		Session:         q("session"),
		Sleep:           q("sleep"),
		Status:          q("status"),
		TrailEvent:      q("trail_event"),
		TrailID:         q("trail_id"),
		TrailKey:        q("trail_key"),
		Unparked:        q("unparked"),
	}, nil
}

// In puts a text of this package, or one written like it, into a schema whose name For accepts.
func In(schema, text string) string {
	if schema == DefaultSchema {
		return text
	}
	return qualifier.ReplaceAllLiteralString(text, `"`+schema+`".`)
}

// Migrations returns every migration in order, for the default schema; put each through In.
func Migrations() []Migration {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	out := make([]Migration, 0, len(names))
	for _, path := range names {
		number, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(out)+1 {
			panic("sql: " + path + ": migrations are numbered from 001 without a gap") // a test would have shown it
		}
		out = append(out, Migration{Version: version, Name: name, SQL: read(path)})
	}
	return out
}

// Version is the highest migration.
func Version() int { return len(Migrations()) }

func read(path string) string {
	text, err := files.ReadFile(path)
	if err != nil {
		panic(err) // embedded
	}
	return string(text)
}
