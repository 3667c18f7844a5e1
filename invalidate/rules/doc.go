// Package rules determines which cache keys an event makes stale. A rule has subject patterns and templates: of keys, and
// of tags, which are indexes of keys. A [Set] of rules resolves an [event.Event] to the keys and tags to delete. It needs
// no server:
//
//	set, err := rules.Parse("rules.yaml", data)
//	deletions, err := set.Resolve(&event)
//
// docs/rules.md is the reference of the rule file and of the file of examples.
//
// # Templates
//
// A template is literal text with placeholders:
//
//	$1 … $9, ${1}     the token of the first wildcard of the subject, and so on, decoded with event.DecodeToken
//	${payload.a.b}    a field of the JSON payload: a string, a boolean, or a number exactly as written
//	${key}            the key of the event
//	${subject}        the subject of the event
//	${header.Name}    a header of the event
//	$$                a dollar
//
// If a payload field is an array, the template makes one key for each element; if a field on the path is an array of
// objects, one for each object. Braces without a dollar are literal text: they are the hash tags of a Redis Cluster.
//
// # Encoding
//
// Fields are encoded, so that no event can name a key outside the template: % : { } * ? [ ], white space, control
// characters and bytes that are not UTF-8 become %XX. The program that writes the cache must build its keys the same way.
// |raw before the closing brace disables the encoding of a placeholder. [Parse] rejects a template that consists only of
// placeholders, unless all of them have |raw. An event can name keys itself, with the headers [HeaderKeys] and
// [HeaderTags], only where a rule sets headers: true.
//
// # Faults
//
// Mistakes in a rule file are errors of Parse, which checks everything that does not depend on an event. A parsed rule
// therefore works for an event, or the event is at fault: it lacks what a template needs, or exceeds a limit. Such an event
// is poison ([ErrPoison]), and no retry helps. A missing or null field is poison; an empty string is not, and an empty
// array yields no key. Resolve still returns the keys that it can derive, because deleting them does no harm.
//
// # Echo, TTL and version
//
// A deletion carries the TTL and the version that its rule declares. Where several rules name the same key, it carries only
// what all of them declare. [Set.Echo] and [Set.Delays] select rules by their echoes.
package rules
