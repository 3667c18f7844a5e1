// Package slot knows where a Redis Cluster keeps a key, and the name of the fill token beside it.
package slot

import "strings"

// suffix makes the key of the fill token of a key.
const suffix = ":f"

// Token returns the key of the fill token that belongs to a key: in the same slot of a Redis Cluster, so that one UNLINK
// deletes both. ok is false for the few keys that have none, because braces in them stand so that no such name can be
// made: a } before the first {, or none behind it but right after it. See the cluster specification of Redis, hash tags.
func Token(key string) (token string, ok bool) {
	if _, tagged := hashTag(key); tagged {
		return key + suffix, true
	}
	if key == "" || strings.IndexByte(key, '}') >= 0 {
		return "", false
	}
	return "{" + key + "}" + suffix, true
}

// hashTag returns the part of a key that alone decides about its slot.
func hashTag(key string) (tag string, ok bool) {
	_, rest, found := strings.Cut(key, "{")
	if !found {
		return "", false
	}
	tag, _, found = strings.Cut(rest, "}")
	return tag, found && tag != ""
}

// Of returns the slot of a key, 0 to 16383.
func Of(key string) int {
	if tag, ok := hashTag(key); ok {
		key = tag
	}
	return int(crc16(key) % 16384)
}

// crc16 is CRC-16/XMODEM: polynomial 0x1021, from 0, not reflected.
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
