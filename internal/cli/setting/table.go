package setting

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
)

// A Setting can come from a flag, from the environment and from the settings file. An option that only makes sense on a
// command line, such as --dry-run, is not a Setting but a plain flag of its command.
type Setting struct {
	section string   // of the file; empty if all commands share it
	name    string   // of the flag; with _ for - it is the key in the file
	value   string   // default
	usage   string   // one line
	form    form     // of a value that is not empty; the zero form allows any text
	env     []string // variables that count after its own, OUTBOX_[SECTION_]NAME
	switch_ bool     // the flag takes no value
	secret  bool     // the value may contain a password, so errors must not quote it
}

var table = []*Setting{
	{name: "database-url", usage: "`URL` of PostgreSQL, direct and not through a transaction pooler; empty means the PG* variables", env: []string{"DATABASE_URL"}, secret: true},
	{name: "database-password-file", usage: "`FILE` that holds the password for PostgreSQL; $PGPASSFILE and ~/.pgpass work as well"},
	{name: "database-ca", usage: "`FILE` of the CA that signed PostgreSQL's certificate (PEM); turns on sslmode=verify-full"},
	{name: "database-cert", usage: "`FILE` of our certificate for PostgreSQL (PEM)"},
	{name: "database-key", usage: "`FILE` of its key"},
	{name: "nats-url", value: "nats://127.0.0.1:4222", usage: "`URL` of NATS, several joined by commas; tls:// for TLS", env: []string{"NATS_URL"}, secret: true, form: listOfTexts},
	{name: "nats-user", usage: "`NAME` of the user of NATS, with --nats-password-file"},
	{name: "nats-password-file", usage: "`FILE` that holds its password"},
	{name: "nats-token-file", usage: "`FILE` that holds a token for NATS"},
	{name: "nats-nkey-file", usage: "`FILE` that holds the seed of an nkey for NATS"},
	{name: "nats-creds", usage: "credentials `FILE` for NATS"},
	{name: "nats-ca", usage: "`FILE` of the CA that signed the certificates of NATS (PEM); turns on TLS"},
	{name: "nats-cert", usage: "`FILE` of our certificate for NATS (PEM)"},
	{name: "nats-key", usage: "`FILE` of its key"},
	{name: "nats-inbox", usage: "`PREFIX` of the subjects on which NATS answers (default: _INBOX_outbox_ and the command, as in _INBOX_outbox_relay)", form: form{check: inboxPrefix}},
	{name: "redis-url", value: "redis://127.0.0.1:6379", usage: "`URL` of Redis: redis://, rediss://, redis-cluster://h1:p,h2:p, redis-sentinel://h1:p,h2:p/master/db", env: []string{"REDIS_URL"}, secret: true},
	{name: "redis-user", usage: "`NAME` of the user of Redis"},
	{name: "redis-password-file", usage: "`FILE` that holds the password for Redis"},
	{name: "redis-ca", usage: "`FILE` of the CA that signed the certificates of Redis (PEM); turns on TLS"},
	{name: "redis-cert", usage: "`FILE` of our certificate for Redis (PEM)"},
	{name: "redis-key", usage: "`FILE` of its key"},
	{name: "insecure", value: "false", usage: "allow connections to other machines that are not encrypted, or to servers that are not verified", form: yesOrNo, switch_: true},
	{name: "wait", value: "0s", usage: "`TIME` to wait, at most, for servers that are still starting; relay and invalidate wait for ever for those they need all the time", form: anyTime},
	{name: "stream", value: "OUTBOX", usage: "`NAME` of the JetStream stream"},
	{name: "schema", value: "outbox", usage: "`NAME` of the PostgreSQL schema"},
	{name: "log-format", value: "auto", usage: "auto, text or json; auto is text on a terminal", form: choice("auto", "text", "json")},
	{name: "log-level", value: "info", usage: "debug, info, warn or error", form: choice("debug", "info", "warn", "error")},

	{section: "relay", name: "subjects", usage: "`SUBJECTS` that the stream covers, joined by commas; needed where it has to be made", form: listOfTexts},
	{section: "relay", name: "name", usage: "`NAME` of this relay in status and logs (default: host name and pid)"},
	{section: "relay", name: "chain", value: "on", usage: "on: sole writer, each event exactly once; off: a stream that others write to as well", form: choice("on", "off")},
	{section: "relay", name: "no-create", value: "false", usage: "refuse to make a missing stream", form: yesOrNo, switch_: true},
	{section: "relay", name: "replicas", value: "1", usage: "`N` replicas of the stream when it is made, 1 to 5", form: whole(1, 5)},
	{section: "relay", name: "max-age", value: "0s", usage: "`AGE` at which a stream that is made drops messages; 0s: never", form: anyTime},
	{section: "relay", name: "on-recreate", value: "republish", usage: "when the stream was made anew: republish what the table has, or halt", form: choice("republish", "halt")},
	{section: "relay", name: "on-removed", value: "republish", usage: "when messages were removed from the stream: republish them at its end, accept, or halt", form: choice("republish", "accept", "halt")},
	{section: "relay", name: "retention", value: "7d", usage: "`AGE` to which events are kept after the stream acknowledged them, from 24h on; 0s: for ever", form: ageInDays},
	{section: "relay", name: "verify", value: "200000", usage: "`N` last messages of the stream read again when a server restarted; 0: none", form: whole(0, 100_000_000)},
	{section: "relay", name: "on-refuse", value: "park", usage: "when the stream refuses an event for ever: park it, or halt", form: choice("park", "halt")},
	{section: "relay", name: "batch", value: "4096", usage: "`N` events planned at once, at most", form: whole(1, 100_000)},
	{section: "relay", name: "window", value: "8192", usage: "`N` events published and not acknowledged, at most", form: whole(1, 10_000)},
	{section: "relay", name: "ack-wait", value: "5s", usage: "`TIME` without an ack after which the outcome of a publish is read from the stream", form: someTime},
	{section: "relay", name: "grace", value: "10s", usage: "`TIME` to finish what is in flight on SIGTERM", form: someTime},
	{section: "relay", name: "listen", usage: "`ADDRESS` for /livez /readyz /metrics, off when empty; :9464 means 127.0.0.1:9464", form: form{check: address}},

	{section: "invalidate", name: "rules", usage: "`FILE` of rules (YAML)"},
	{section: "invalidate", name: "durable", value: "invalidate-now", usage: "`NAME` of the consumer; one per cache, shared by its invalidators"},
	{section: "invalidate", name: "echo", value: "5s", usage: "`TIMES` after an event at which its keys are deleted once more, joined by commas, for rules that do not say it; off: never", form: listOfDelays},
	{section: "invalidate", name: "echo-replicas", usage: "`NAMES` (application_name) of the replicas that readers ask, joined by commas: an echo waits until they have caught up; needs --database-url", form: listOfTexts},
	{section: "invalidate", name: "tag-rate", value: "20000", usage: "`N` members of tags deleted in a second, at most; 0: as fast as possible", form: whole(0, 100_000_000)},
	{section: "invalidate", name: "replay-window", value: "60s", usage: "`TIME` before a fail-over of Redis whose events are worked off again; 0s: none", form: anyTime},
	{section: "invalidate", name: "audit", value: "1m,5m", usage: "`TIMES` after an event at which its keys are looked at, joined by commas, if a rule has a ttl or a version; off: never", form: listOfDelays},
	{section: "invalidate", name: "audit-sample", value: "0.01", usage: "`SHARE` of the events whose keys are looked at, above 0 and at most 1", form: fraction},
	{section: "invalidate", name: "dead-stream", usage: "`NAME` of the stream that takes poison events (default: the stream's with _DEAD)"},
	{section: "invalidate", name: "batch", value: "256", usage: "`N` events per pipeline, at most", form: whole(1, 10_000)},
	{section: "invalidate", name: "replicas", value: "1", usage: "`N` replicas of the dead-letter stream when it is made, 1 to 5", form: whole(1, 5)},
	{section: "invalidate", name: "ack-wait", value: "10s", usage: "`TIME` after which what an invalidator died with goes to another, at least 1s", form: oneSecond},
	{section: "invalidate", name: "grace", value: "10s", usage: "`TIME` to finish what is in hand on SIGTERM", form: someTime},
	{section: "invalidate", name: "listen", usage: "`ADDRESS` for /livez /readyz /metrics, off when empty; :9465 means 127.0.0.1:9465", form: form{check: address}},
}

// All returns every setting, in the order of the settings file: first those that all commands share.
func All() []*Setting { return slices.Clone(table) }

// Name is the name of its flag, without dashes.
func (s *Setting) Name() string { return s.name }

// Section is the command that it belongs to, empty if all commands share it.
func (s *Setting) Section() string { return s.section }

// Default is its value where none is given.
func (s *Setting) Default() string { return s.value }

// Secret reports whether its value may contain a password or a token.
func (s *Setting) Secret() bool { return s.secret }

// Key is its path in the settings file: stream, relay.max_age.
func (s *Setting) Key() string {
	key := strings.ReplaceAll(s.name, "-", "_")
	if s.section != "" {
		key = s.section + "." + key
	}
	return key
}

// Variables are the environment variables that can set it. The first one that is set and not empty counts.
func (s *Setting) Variables() []string {
	own := "OUTBOX_" + strings.ToUpper(strings.NewReplacer(".", "_").Replace(s.Key()))
	return append([]string{own}, s.env...)
}

// Shared is the category of the flags of the settings that all commands share.
const Shared = "Settings that all commands share"

// flag is the flag of the setting. The flag library does not read the environment, because it could not report the origin.
func (s *Setting) flag() cli.Flag {
	usage := s.usage + " [$" + strings.Join(s.Variables(), ", $") + "]"
	category := Shared
	if s.section != "" {
		category = ""
	}
	if s.switch_ {
		return &cli.BoolFlag{Name: s.name, Usage: usage, Category: category}
	}
	return &cli.StringFlag{Name: s.name, Usage: usage, Value: s.value, Category: category}
}

// Check returns nil for a valid value, and an error that names what is wanted for any other. An empty value is valid.
func (s *Setting) Check(value string) error {
	if s.form.check == nil || value == "" {
		return nil
	}
	return s.form.check(value)
}

// refuse is the error for a value. It quotes the value unless that may contain a secret.
func (s *Setting) refuse(origin, value string, err error) error {
	if s.secret {
		return exit.Usagef(nil, "%s: %w", origin, err)
	}
	return exit.Usagef(nil, "%s %q: %w", origin, value, err)
}
