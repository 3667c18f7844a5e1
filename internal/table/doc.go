// Package table reads and writes the tables of an outbox for the relay and for operators: the plan, bases and receipts,
// partitions, parked events, pauses, and the state that `outbox status` shows. A service uses package outbox instead.
//
// A relay holds one Session, its only direct connection, which carries the leader lock and the plan. Everything else
// is a method of Table, and runs on any connection. No row of an event, a batch or a receipt is ever updated; whole
// partitions are dropped.
package table
