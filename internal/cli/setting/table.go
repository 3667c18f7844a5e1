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
	{name: "database-url", usage: "`URL` of PostgreSQL; must not lead to a transaction pooler; empty: the PG* variables", env: []string{"DATABASE_URL"}, secret: true},
	{name: "database-password-file", usage: "`FILE` with the password for PostgreSQL; $PGPASSFILE and ~/.pgpass work too"},
	{name: "database-ca", usage: "`FILE` with the CA of PostgreSQL's certificate (PEM); turns on sslmode=verify-full"},
	{name: "database-cert", usage: "`FILE` with the client certificate for PostgreSQL (PEM)"},
	{name: "database-key", usage: "`FILE` with the key of --database-cert"},
	{name: "nats-url", value: "nats://127.0.0.1:4222", usage: "`URL` of NATS, or several, joined by commas; tls:// for TLS", env: []string{"NATS_URL"}, secret: true, form: listOfTexts},
	{name: "nats-user", usage: "`NAME` of the NATS user; requires --nats-password-file"},
	{name: "nats-password-file", usage: "`FILE` with the password of --nats-user"},
	{name: "nats-token-file", usage: "`FILE` with a token for NATS"},
	{name: "nats-nkey-file", usage: "`FILE` with the seed of an nkey for NATS"},
	{name: "nats-creds", usage: "`FILE` with credentials for NATS"},
	{name: "nats-ca", usage: "`FILE` with the CA of the NATS certificates (PEM); turns on TLS"},
	{name: "nats-cert", usage: "`FILE` with the client certificate for NATS (PEM)"},
	{name: "nats-key", usage: "`FILE` with the key of --nats-cert"},
	{name: "nats-inbox", usage: "`PREFIX` of the subjects that replies from NATS arrive on (default: _INBOX_outbox_ and the command, such as _INBOX_outbox_relay)", form: form{check: inboxPrefix}},
	{name: "redis-url", value: "redis://127.0.0.1:6379", usage: "`URL` of Redis: redis://, rediss://, redis-cluster://h1:p,h2:p, redis-sentinel://h1:p,h2:p/master/db", env: []string{"REDIS_URL"}, secret: true},
	{name: "redis-user", usage: "`NAME` of the Redis user"},
	{name: "redis-password-file", usage: "`FILE` with the password for Redis"},
	{name: "redis-ca", usage: "`FILE` with the CA of the Redis certificates (PEM); turns on TLS"},
	{name: "redis-cert", usage: "`FILE` with the client certificate for Redis (PEM)"},
	{name: "redis-key", usage: "`FILE` with the key of --redis-cert"},
	{name: "insecure", value: "false", usage: "allow connections to other machines without encryption or server verification", form: yesOrNo, switch_: true},
	{name: "wait", value: "0s", usage: "`TIME` to wait for servers that are still starting; relay and invalidate wait indefinitely for the servers they use all the time", form: anyTime},
	{name: "stream", value: "OUTBOX", usage: "`NAME` of the JetStream stream"},
	{name: "schema", value: "outbox", usage: "`NAME` of the PostgreSQL schema"},
	{name: "log-format", value: "auto", usage: "`FORMAT` of logs: text, json, or auto, which is text on a terminal", form: choice("auto", "text", "json")},
	{name: "log-level", value: "info", usage: "`LEVEL` of logs: debug, info, warn or error", form: choice("debug", "info", "warn", "error")},

	{section: "relay", name: "subjects", usage: "`SUBJECTS` of the stream, joined by commas; required to create the stream", form: listOfTexts},
	{section: "relay", name: "listen", usage: "`ADDRESS` for /livez, /readyz and /metrics; :9464 means 127.0.0.1:9464; empty: none", form: form{check: address}},
	{section: "relay", name: "retention", value: "7d", usage: "`AGE` up to which acknowledged events are kept, at least 24h; 0s keeps them indefinitely", form: ageInDays},
	{section: "relay", name: "replicas", value: "1", usage: "`N` replicas of the stream when it is created, 1 to 5", form: whole(1, 5)},
	{section: "relay", name: "max-age", value: "0s", usage: "`AGE` at which the stream drops messages, set when it is created; 0s: never", form: anyTime},
	{section: "relay", name: "no-create", value: "false", usage: "do not create a missing stream", form: yesOrNo, switch_: true},
	{section: "relay", name: "chain", value: "on", usage: "`MODE`: on if the relay is the only publisher of the stream, which then holds each event once; off if others publish to it too", form: choice("on", "off")},
	{section: "relay", name: "on-recreate", value: "republish", usage: "`ACTION` when the stream was deleted and recreated: republish the events in the table, or halt", form: choice("republish", "halt")},
	{section: "relay", name: "on-removed", value: "republish", usage: "`ACTION` when messages were removed from the stream: republish them at its end, accept, or halt", form: choice("republish", "accept", "halt")},
	{section: "relay", name: "on-refuse", value: "park", usage: "`ACTION` when the stream rejects an event permanently: park it, or halt", form: choice("park", "halt")},
	{section: "relay", name: "name", usage: "`NAME` of this relay in status and logs (default: host name and pid)"},
	{section: "relay", name: "batch", value: "4096", usage: "`N` events planned at a time, at most", form: whole(1, 100_000)},
	{section: "relay", name: "window", value: "8192", usage: "`N` events published and not yet acknowledged, at most", form: whole(1, 10_000)},
	{section: "relay", name: "ack-wait", value: "5s", usage: "`TIME` without an ack after which the relay reads from the stream whether a publish succeeded", form: someTime},
	{section: "relay", name: "verify", value: "200000", usage: "`N` last messages of the stream that the relay reads again after another server took over the stream; 0: none", form: whole(0, 100_000_000)},
	{section: "relay", name: "grace", value: "10s", usage: "`TIME` to finish the events in flight after SIGTERM", form: someTime},

	{section: "invalidate", name: "rules", usage: "`FILE` with the rules (YAML)"},
	{section: "invalidate", name: "listen", usage: "`ADDRESS` for /livez, /readyz and /metrics; :9465 means 127.0.0.1:9465; empty: none", form: form{check: address}},
	{section: "invalidate", name: "echo", value: "5s", usage: "`TIMES` after an event at which its keys are deleted again, joined by commas, for rules without an echo of their own; off: never", form: listOfDelays},
	{section: "invalidate", name: "echo-replicas", usage: "`NAMES` (application_name) of the database replicas that readers query, joined by commas; an echo waits until they have caught up; requires --database-url", form: listOfTexts},
	{section: "invalidate", name: "redelivery-window", value: "60s", usage: "`TIME` before a Redis fail-over from which on events are processed again; 0s: none", form: anyTime},
	{section: "invalidate", name: "staleness", value: "1m,5m", usage: "`TIMES` after an event at which a sample of its keys is checked for stale values, joined by commas; requires rules with a ttl or a version; off: never", form: listOfDelays},
	{section: "invalidate", name: "staleness-sample", value: "0.01", usage: "`SHARE` of the events whose keys are checked for stale values, above 0 and at most 1", form: fraction},
	{section: "invalidate", name: "tag-rate", value: "20000", usage: "`N` members of tags deleted per second, at most; 0: no limit", form: whole(0, 100_000_000)},
	{section: "invalidate", name: "durable", value: "invalidate-now", usage: "`NAME` of the consumer; one per cache, shared by all its invalidators"},
	{section: "invalidate", name: "dead-stream", usage: "`NAME` of the dead-letter stream (default: the name of the stream with _DEAD)"},
	{section: "invalidate", name: "replicas", value: "1", usage: "`N` replicas of the dead-letter stream when it is created, 1 to 5", form: whole(1, 5)},
	{section: "invalidate", name: "batch", value: "256", usage: "`N` events per Redis pipeline, at most", form: whole(1, 10_000)},
	{section: "invalidate", name: "ack-wait", value: "10s", usage: "`TIME` after which the events of a dead invalidator go to another, at least 1s", form: oneSecond},
	{section: "invalidate", name: "grace", value: "10s", usage: "`TIME` to finish the events in hand after SIGTERM", form: someTime},
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
const Shared = "Settings of all commands"

// flag is the flag of the setting. The flag library does not read the environment, because it could not report the
// origin.
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

// Check returns nil for a valid value. For any other it returns an error that names what is wanted and quotes the
// value. An empty value is valid.
func (s *Setting) Check(value string) error {
	if s.form.check == nil || value == "" {
		return nil
	}
	return s.form.check(value)
}

// invalid is the error for a value. It does not quote a value that may contain a secret, as err does.
func (s *Setting) invalid(origin string, err error) error {
	if s.secret {
		return exit.Usagef(nil, "%s: invalid value", origin)
	}
	return exit.Usagef(nil, "%s: %w", origin, err)
}
