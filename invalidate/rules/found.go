package rules

import (
	"errors"
	"fmt"
)

// maxMade bounds the work for one event: the same key made again counts here, but not as a key.
const maxMade = 16 * MaxEventKeys

// manyKeys is from where on a map finds duplicates faster than a look at each.
const manyKeys = 32

// A name is what tells one deletion from another: a key can be an index of keys as well.
type name struct {
	key string
	tag bool
}

// add takes the key over into what was found; one that is there already is told of what this rule says.
func (s *Resolver) add() error {
	s.made++
	switch {
	case len(s.key) == 0:
		return errors.New("the key is empty")
	case len(s.key) > MaxKey:
		return fmt.Errorf("the key has %d bytes, the limit is %d", len(s.key), MaxKey)
	case s.made > maxMade:
		return fmt.Errorf("the event names more than %d keys, most of them again and again", maxMade)
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

// find returns the index in found of the key being made, -1 if it is not there.
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

// merge takes over what another rule says of the same key: only what both say, and only what both can mean.
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
