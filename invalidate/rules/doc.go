// Package rules says which cache keys an event makes stale. A rule has subject patterns and templates of keys and of
// tags, which are indexes of keys; a [Set] of them resolves an [event.Event] to deletions, without any server.
//
// Placeholders are $1 for the first wildcard's token (decoded with event.DecodeToken), ${payload.user_id} for a field
// of the JSON payload (a number exactly as written, an array makes one key of each element, an array of objects one of
// each object), ${key}, ${subject} and ${header.Name}; $$ is a dollar. Braces without a dollar stay as they are: they
// are the hash tags of a Redis Cluster.
//
// Fields are encoded, never pasted, so that no event can name a key outside its template: % : { } * ? [ ], white space,
// control characters and bytes that are not UTF-8 become %XX, and whoever writes the cache has to make its keys the same
// way. |raw before the closing brace pastes a field as it is. A template that has nothing but placeholders is refused
// unless all of them say so. A field that is missing or null is poison; an empty one is not, and an empty array names no
// key. Only a rule that says headers: true lets an event name keys itself, with [HeaderKeys] and [HeaderTags].
//
// What a rule says of echoes, times to live and versions goes with its deletions; where several rules name the same key,
// only what all of them say is left. An [Example] is an event and what the rules have to make of it; docs/rules.md is the
// reference of both files.
package rules
