package main

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// A setting can come from a flag, from the environment and from a file. All of them are in this table; what only
// makes sense on a command line (--dry-run, --table, -o) is a plain flag of its command.
type setting struct {
	section string   // of the file; empty for those that all commands share
	name    string   // of the flag; with _ for - it is the key in the file
	value   string   // default
	usage   string   // one line
	check   checker  // of a value that is not empty; nil allows every text
	env     []string // variables after its own, OUTBOX_[SECTION_]NAME
	switch_ bool     // the flag takes no value
	secret  bool     // the value may hold a password: errors do not quote it
}

// A checker says what is wanted in place of a value that will not do.
type checker func(value string) error

var settingTable = []*setting{
	{name: "database-url", usage: "`URL` of PostgreSQL, direct and not through a transaction pooler; empty means the PG* variables", env: []string{"DATABASE_URL"}, secret: true},
	{name: "database-password-file", usage: "`FILE` that holds the password for PostgreSQL; $PGPASSFILE and ~/.pgpass work as well"},
	{name: "database-ca", usage: "`FILE` of the CA that signed PostgreSQL's certificate (PEM); turns on sslmode=verify-full"},
	{name: "database-cert", usage: "`FILE` of our certificate for PostgreSQL (PEM)"},
	{name: "database-key", usage: "`FILE` of its key"},
	{name: "nats-url", value: "nats://127.0.0.1:4222", usage: "`URL` of NATS, several joined by commas; tls:// for TLS", env: []string{"NATS_URL"}, secret: true},
	{name: "nats-user", usage: "`NAME` of the user of NATS, with --nats-password-file"},
	{name: "nats-password-file", usage: "`FILE` that holds its password"},
	{name: "nats-token-file", usage: "`FILE` that holds a token for NATS"},
	{name: "nats-nkey-file", usage: "`FILE` that holds the seed of an nkey for NATS"},
	{name: "nats-creds", usage: "credentials `FILE` for NATS"},
	{name: "nats-ca", usage: "`FILE` of the CA that signed the certificates of NATS (PEM); turns on TLS"},
	{name: "nats-cert", usage: "`FILE` of our certificate for NATS (PEM)"},
	{name: "nats-key", usage: "`FILE` of its key"},
	{name: "nats-inbox", usage: "`PREFIX` of the subjects on which NATS answers (default: _INBOX_outbox_ and the command, as in _INBOX_outbox_relay)", check: inboxPrefix},
	{name: "redis-url", value: "redis://127.0.0.1:6379", usage: "`URL` of Redis: redis://, rediss://, redis-cluster://h1:p,h2:p, redis-sentinel://h1:p,h2:p/master/db", env: []string{"REDIS_URL"}, secret: true},
	{name: "redis-user", usage: "`NAME` of the user of Redis"},
	{name: "redis-password-file", usage: "`FILE` that holds the password for Redis"},
	{name: "redis-ca", usage: "`FILE` of the CA that signed the certificates of Redis (PEM); turns on TLS"},
	{name: "redis-cert", usage: "`FILE` of our certificate for Redis (PEM)"},
	{name: "redis-key", usage: "`FILE` of its key"},
	{name: "insecure", value: "false", usage: "allow connections to other machines that are not encrypted, or to servers that are not verified", check: boolean, switch_: true},
	{name: "wait", value: "0s", usage: "`TIME` to wait, at most, for servers that are still starting; relay and invalidate wait for ever for those they need all the time", check: duration},
	{name: "stream", value: "OUTBOX", usage: "`NAME` of the JetStream stream"},
	{name: "schema", value: "outbox", usage: "`NAME` of the PostgreSQL schema"},
	{name: "log-format", value: "auto", usage: "auto, text or json; auto is text on a terminal", check: oneOf("auto", "text", "json")},
	{name: "log-level", value: "info", usage: "debug, info, warn or error", check: oneOf("debug", "info", "warn", "error")},

	{section: "relay", name: "subjects", usage: "`SUBJECTS` that the stream covers, joined by commas; needed where it has to be made"},
	{section: "relay", name: "name", usage: "`NAME` of this relay in status and logs (default: host name and pid)"},
	{section: "relay", name: "chain", value: "on", usage: "on: sole writer, each event exactly once; off: a stream that others write to as well", check: oneOf("on", "off")},
	{section: "relay", name: "no-create", value: "false", usage: "refuse to make a missing stream", check: boolean, switch_: true},
	{section: "relay", name: "replicas", value: "1", usage: "`N` replicas of the stream when it is made, 1 to 5", check: number(1, 5)},
	{section: "relay", name: "max-age", value: "0s", usage: "`AGE` at which a stream that is made drops messages; 0s: never", check: duration},
	{section: "relay", name: "on-recreate", value: "republish", usage: "when the stream was made anew: republish what the table has, or halt", check: oneOf("republish", "halt")},
	{section: "relay", name: "on-removed", value: "republish", usage: "when messages were removed from the stream: republish them at its end, accept, or halt", check: oneOf("republish", "accept", "halt")},
	{section: "relay", name: "retention", value: "7d", usage: "`AGE` to which events are kept after the stream acknowledged them, from " + retentionFloor + " on; 0s: for ever", check: retention},
	{section: "relay", name: "verify", value: "200000", usage: "`N` last messages of the stream read again when a server restarted; 0: none", check: number(0, 100_000_000)},
	{section: "relay", name: "on-refuse", value: "park", usage: "when the stream refuses an event for ever: park it, or halt", check: oneOf("park", "halt")},
	{section: "relay", name: "batch", value: "4096", usage: "`N` events planned at once, at most", check: number(1, 100_000)},
	{section: "relay", name: "window", value: "8192", usage: "`N` events published and not acknowledged, at most", check: number(1, 10_000)},
	{section: "relay", name: "ack-wait", value: "5s", usage: "`TIME` without an ack after which the outcome of a publish is read from the stream", check: positive},
	{section: "relay", name: "grace", value: "10s", usage: "`TIME` to finish what is in flight on SIGTERM", check: positive},
	{section: "relay", name: "listen", usage: "`ADDRESS` for /livez /readyz /metrics, off when empty; :9464 means 127.0.0.1:9464", check: address},

	{section: "invalidate", name: "rules", usage: "`FILE` of rules (YAML)"},
	{section: "invalidate", name: "durable", value: "invalidate-now", usage: "`NAME` of the consumer; one per cache, shared by its invalidators"},
	{section: "invalidate", name: "echo", value: "5s", usage: "`TIMES` after an event at which its keys are deleted once more, joined by commas, for rules that do not say it; off: never", check: delays},
	{section: "invalidate", name: "echo-replicas", usage: "`NAMES` (application_name) of the replicas that readers ask, joined by commas: an echo waits until they have caught up; needs --database-url"},
	{section: "invalidate", name: "tag-rate", value: "20000", usage: "`N` members of tags deleted in a second, at most; 0: as fast as possible", check: number(0, 100_000_000)},
	{section: "invalidate", name: "replay-window", value: "60s", usage: "`TIME` before a fail-over of Redis whose events are worked off again; 0s: none", check: duration},
	{section: "invalidate", name: "audit", value: "1m,5m", usage: "`TIMES` after an event at which its keys are looked at, joined by commas, if a rule has a ttl or a version; off: never", check: delays},
	{section: "invalidate", name: "audit-sample", value: "0.01", usage: "`SHARE` of the events whose keys are looked at, above 0 and at most 1", check: share},
	{section: "invalidate", name: "dead-stream", usage: "`NAME` of the stream that takes poison events (default: the stream's with _DEAD)"},
	{section: "invalidate", name: "batch", value: "256", usage: "`N` events per pipeline, at most", check: number(1, 10_000)},
	{section: "invalidate", name: "replicas", value: "1", usage: "`N` replicas of the dead-letter stream when it is made, 1 to 5", check: number(1, 5)},
	{section: "invalidate", name: "ack-wait", value: "10s", usage: "`TIME` after which what an invalidator died with goes to another, at least 1s", check: positive},
	{section: "invalidate", name: "grace", value: "10s", usage: "`TIME` to finish what is in hand on SIGTERM", check: positive},
	{section: "invalidate", name: "listen", usage: "`ADDRESS` for /livez /readyz /metrics, off when empty; :9465 means 127.0.0.1:9465", check: address},
}

// key is the path of the setting in the file: stream, relay.max_age.
func (s *setting) key() string {
	key := strings.ReplaceAll(s.name, "-", "_")
	if s.section != "" {
		key = s.section + "." + key
	}
	return key
}

// variables are the environment variables that can set it, the first one that is set and not empty wins.
func (s *setting) variables() []string {
	own := "OUTBOX_" + strings.ToUpper(strings.NewReplacer(".", "_").Replace(s.key()))
	return append([]string{own}, s.env...)
}

// flag is the flag of the setting. The library does not read the environment, since it cannot say that it did.
func (s *setting) flag() cli.Flag {
	usage := s.usage + " [$" + strings.Join(s.variables(), ", $") + "]"
	category := "Settings that all commands share"
	if s.section != "" {
		category = ""
	}
	if s.switch_ {
		return &cli.BoolFlag{Name: s.name, Usage: usage, Category: category}
	}
	return &cli.StringFlag{Name: s.name, Usage: usage, Value: s.value, Category: category}
}

// refuse is the error for a value, quoting it unless it may hold a secret.
func (s *setting) refuse(origin, value string, err error) error {
	if s.secret {
		return usagef(nil, "%s: %w", origin, err)
	}
	return usagef(nil, "%s %q: %w", origin, value, err)
}

func oneOf(choices ...string) checker {
	return func(value string) error {
		for _, c := range choices {
			if value == c {
				return nil
			}
		}
		return fmt.Errorf("want %s%s", strings.Join(choices, " or "), suggest(value, choices))
	}
}

func number(least, most int) checker {
	return func(value string) error {
		if n, err := strconv.Atoi(value); err != nil || n < least || n > most {
			return fmt.Errorf("want a whole number from %d to %d", least, most)
		}
		return nil
	}
}

func duration(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d < 0 {
		return fmt.Errorf("want a time such as 500ms, 10s or 72h")
	}
	return nil
}

func positive(value string) error {
	if d, err := time.ParseDuration(value); err != nil || d <= 0 {
		return fmt.Errorf("want a time above 0 such as 500ms or 10s")
	}
	return nil
}

// delays is a list of times, or off.
func delays(value string) error {
	if value == "off" {
		return nil
	}
	for _, item := range split(value) {
		if d, err := time.ParseDuration(item); err != nil || d < time.Millisecond || d > time.Hour {
			return fmt.Errorf("want times from 1ms to 1h such as 5s or 1s,30s, or off")
		}
	}
	return nil
}

func share(value string) error {
	if f, err := strconv.ParseFloat(value, 64); err != nil || !(f > 0 && f <= 1) {
		return fmt.Errorf("want a number above 0 and at most 1 such as 0.01")
	}
	return nil
}

// retentionFloor is the shortest retention that is taken. A build for a test of it can set another.
var retentionFloor = "24h"

func retention(value string) error {
	floor, err := days(retentionFloor)
	if err != nil {
		return fmt.Errorf("this program was built with a floor of %q, which is no time", retentionFloor)
	}
	if d, err := days(value); err != nil || d != 0 && d < floor {
		return fmt.Errorf("want a time from %s on such as 36h or 7d, or 0s to keep everything", retentionFloor)
	}
	return nil
}

// days is a time as time.ParseDuration reads it, or a number of days such as 7d.
func days(text string) (time.Duration, error) {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || !(n >= 0 && n <= 36500) {
			return 0, fmt.Errorf("%q is no number of days", number)
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	d, err := time.ParseDuration(text)
	if err == nil && d < 0 {
		return 0, fmt.Errorf("%s is negative", text)
	}
	return d, err
}

func boolean(value string) error {
	if value != "true" && value != "false" {
		return fmt.Errorf("want true or false")
	}
	return nil
}

func inboxPrefix(value string) error {
	if strings.ContainsAny(value, " \t\r\n*>") || strings.HasPrefix(value, ".") || strings.HasSuffix(value, ".") || strings.Contains(value, "..") {
		return fmt.Errorf("want the beginning of a subject such as _INBOX_mine, without wildcards and no dot at its end")
	}
	return nil
}

func address(value string) error {
	_, port, err := net.SplitHostPort(value)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("want host:port, or :port for 127.0.0.1")
	}
	return nil
}
