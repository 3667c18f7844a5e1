// Package stream reads a JetStream stream: its state, single messages, and the headers of a span of messages. It also
// knows where the positions of an outbox lie in a stream (BaseLog). The relay reads with it where to resume, the audit
// what to compare with the table.
//
// It never writes to a stream. It reads from the stream's leader only: any replica answers a direct get, and its answer may be old.
package stream
