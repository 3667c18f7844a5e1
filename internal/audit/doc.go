// Package audit compares the table, the plan, the receipts, the stream and its consumers, while writers and relays continue.
//
// An audit fixes the ends first, the last sequence of the stream and then the last position of the plan, and audits up to there. Every
// message up to that sequence was planned before it was published, and later ones are not part of the audit. At the end it reads again
// what seems to be lost.
//
// It reads the headers of the stream in order, and for each page of messages what the plan has at their positions. It keeps one bit for each
// position and two for each row, so its memory does not depend on payloads, and little on the number of events.
//
// A repair goes through the relay, so that the stream has only one writer. It gives missing events another position at the end of the plan, which
// the relay publishes. If the stream went back or was created again, the relay publishes what follows its end by itself. What cannot be
// undone in a stream that only grows, the repair records as accepted. If that was the order of a key, it inserts a copy of the key's
// newest event, so that consumers end with that. Every step is one transaction that takes effect once: a repair that is killed
// continues when it runs again.
package audit
