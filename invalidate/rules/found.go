package rules

import (
	"errors"
	"fmt"
)

// maxMade bounds the work for one event. It counts duplicates too, which MaxEventKeys does not.
const maxMade = 16 * MaxEventKeys

// manyKeys is the number of keys from which a map finds duplicates faster than a comparison with each key.
const manyKeys = 32

// A name identifies a deletion. The same text can be both a key and a tag.
type name struct {
	key string
	tag bool
}

// add appends the key to what was found. If the key is there already, add merges what the rule declares for it.
func (s *Resolver) add() error {
	s.made++
	switch {
	case len(s.key) == 0:
		return errors.New("the key is empty; want at least 1 byte")
	case len(s.key) > MaxKey:
		return fmt.Errorf("the key has %d bytes; want at most %d", len(s.key), MaxKey)
	case s.made > maxMade:
		return fmt.Errorf("the event names more than %d keys, duplicates included", maxMade)
	}
	d := Deletion{Rule: s.rule.index, Tag: s.tag, TTL: s.rule.ttl, Due: s.due}
	if s.due != "" {
		d.Version = s.rule.version
	}
	if i := s.find(); i >= 0 {
		s.found[i].merge(&d)
		return nil
	}
	if len(s.found)-s.begin == MaxEventKeys {
		return fmt.Errorf("the event names more than %d keys and tags", MaxEventKeys)
	}
	d.Key = string(s.key)
	s.found = append(s.found, d)
	if len(s.seen) > 0 {
		s.seen[name{d.Key, s.tag}] = len(s.found) - 1
	}
	return nil
}

// find returns the index in found of the current key, or -1.
func (s *Resolver) find() int {
	list := s.found[s.begin:]
	if len(list) < manyKeys {
		for i := range list {
			if list[i].Key == string(s.key) && list[i].Tag == s.tag {
				return s.begin + i
			}
		}
		return -1
	}
	if len(s.seen) == 0 {
		if s.seen == nil {
			s.seen = make(map[name]int, 2*manyKeys)
		}
		for i := range list {
			s.seen[name{list[i].Key, list[i].Tag}] = s.begin + i
		}
	}
	if i, ok := s.seen[name{string(s.key), s.tag}]; ok {
		return i
	}
	return -1
}

// merge keeps what both deletions of the same key declare: the range of both TTLs, and the version if it is the same.
func (d *Deletion) merge(other *Deletion) {
	if d.TTL == (Span{}) || other.TTL == (Span{}) {
		d.TTL = Span{}
	} else {
		d.TTL = Span{Min: min(d.TTL.Min, other.TTL.Min), Max: max(d.TTL.Max, other.TTL.Max)}
	}
	if d.Due != other.Due || d.Due != "" && !d.Version.same(other.Version) {
		d.Due, d.Version = "", nil
	}
}
