// Package slot computes the hash slot of a key in a Redis Cluster, and the name of the fill token in the same slot. Both
// follow the Redis Cluster specification, sections "Key distribution model" and "Hash tags".
package slot

import "strings"

// suffix turns a key with a hash tag into the key of its fill token.
const suffix = ":f"

// Token returns the key of the fill token of a key. Both lie in the same slot of a Redis Cluster, so that one UNLINK can
// delete both. ok is false for the keys that have no token: the empty key, and a key that has a } but no hash tag, such
// as "a}b" or "a{}b". For these, no name that contains the key hashes to its slot.
func Token(key string) (token string, ok bool) {
	if _, tagged := hashTag(key); tagged {
		return key + suffix, true
	}
	if key == "" || strings.IndexByte(key, '}') >= 0 {
		return "", false
	}
	return "{" + key + "}" + suffix, true
}

// hashTag returns the part of a key that alone determines its slot, and whether the key has such a part.
func hashTag(key string) (tag string, ok bool) {
	_, rest, found := strings.Cut(key, "{")
	if !found {
		return "", false
	}
	tag, _, found = strings.Cut(rest, "}")
	return tag, found && tag != ""
}

// Of returns the slot of a key, from 0 to 16383.
func Of(key string) int {
	if tag, ok := hashTag(key); ok {
		key = tag
	}
	return int(crc16(key) % 16384)
}

// crc16 computes CRC-16/XMODEM: polynomial 0x1021, initial value 0, not reflected.
func crc16(text string) (crc uint16) {
	for i := range len(text) {
		crc ^= uint16(text[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc
}
