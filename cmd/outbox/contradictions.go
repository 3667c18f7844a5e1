package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/table"
	"github.com/seed-6eff6314/outbox-relay/invalidate/rules"
	"github.com/seed-6eff6314/outbox-relay/relay"
)

// contradictions are what the commands would refuse, or do wrong, though each value by itself will do. It asks no server.
func (s settings) contradictions() (errs []error) {
	refused := func(group string, err error) {
		if err != nil {
			errs = append(errs, s.placed(group, err))
		}
	}
	if _, err := table.In(s.text("schema")); err != nil {
		refused("schema", err)
	}
	if config, err := pgconn.ParseConfig(s.text("database_url")); err != nil {
		refused("database_url", badURL(s, "database_url", postgresURL))
	} else {
		refused("database_", s.securePostgres(config))
	}
	_, err := s.secureNATS()
	if err != nil && !ours(err) || len(split(s.text("nats_url"))) == 0 {
		err = badURL(s, "nats_url", natsURL)
	}
	refused("nats_", err)
	if options, err := parseRedis(s.text("redis_url")); err != nil {
		refused("redis_url", badURL(s, "redis_url", redisURL))
	} else {
		refused("redis_", s.secureRedis(options))
	}
	config := relayConfig(s)
	config.Schema = "" // checked above
	_, err = relay.New(nil, nil, config)
	refused("relay.", err)
	set := &rules.Set{}
	if s.text("invalidate.rules") != "" {
		if read, err := readRules(s); err != nil {
			refused("invalidate.rules", err)
		} else {
			set = read
		}
	}
	if s.text("invalidate.dead_stream") == s.text("stream") {
		refused("invalidate.dead_stream", fmt.Errorf("invalidate.dead_stream and stream are both %q: poison would come back for ever", s.text("stream")))
	} else {
		refused("invalidate.", invalidatorConfig(s, set).Check())
	}
	refused("relay.max_age", s.tooYoung("invalidate.echo"))
	return errs
}

// ours tells what is worded for the caller from what a parser says, which may quote a password.
func ours(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

// tooYoung refuses a stream that drops messages before the consumers of a setting have to look at them.
func (s settings) tooYoung(key string) error {
	age, late := s.duration("relay.max_age"), s.durations(key)
	if age > 0 && len(late) > 0 && slices.Max(late) >= age {
		return fmt.Errorf("relay.max_age %v drops events before %s (%v) has looked at them: want more than that, better days", age, key, slices.Max(late))
	}
	return nil
}

// oddities are what will do, and hardly was meant.
func (s settings) oddities() (errs []error) {
	odd := func(key, format string, args ...any) { errs = append(errs, s.at(key, fmt.Errorf(format, args...))) }
	if at := s.text("relay.listen"); at != "" && at == s.text("invalidate.listen") {
		odd("invalidate.listen", "relay.listen and invalidate.listen are the same address: the second one to start on a machine cannot have it")
	}
	if s.on("relay.no_create") {
		for _, key := range []string{"relay.replicas", "relay.max_age"} {
			if o := s.origin(key); o.value != o.setting.value {
				odd(key, "%s is for a stream that outbox relay makes, and relay.no_create is true", key)
			}
		}
	}
	if s.duration("relay.ack_wait") > s.duration("relay.grace") {
		odd("relay.grace", "relay.grace is shorter than relay.ack_wait: a relay that is told to stop will not learn of an ack that is lost")
	}
	if err := s.tooYoung("invalidate.audit"); err != nil {
		odd("relay.max_age", "%w; it matters if a rule has a ttl or a version", err)
	}
	if age, window := s.duration("relay.max_age"), s.duration("invalidate.replay_window"); age > 0 && window > age {
		odd("relay.max_age", "relay.max_age is shorter than invalidate.replay_window: the stream no longer has all that should be worked off again")
	}
	if s.on("insecure") {
		odd("insecure", "insecure is true: connections to other machines need not be encrypted (%s)", s.origin("insecure").from)
	}
	return errs
}

// placed is an error at the setting that it names, of those whose keys begin with group; else at the first of them that
// is in the file.
func (s settings) placed(group string, err error) error {
	at := ""
	for _, entry := range settingTable {
		key := entry.key()
		if !strings.HasPrefix(key, group) || s.origin(key).place.line == 0 {
			continue
		}
		if at == "" || strings.Contains(err.Error(), key) && !strings.Contains(err.Error(), at) {
			at = key
		}
	}
	if at == "" {
		return err
	}
	return s.at(at, err)
}
