// Package outbox owns the table of a transactional outbox, and the noun that travels from it: Event.
//
// A service inserts events in the transaction of the change that they describe:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		// … the change …
//		_, err := outbox.Insert(ctx, tx, outbox.Event{Subject: "users.42.updated", Key: "42", Payload: payload})
//		return err
//	})
//
// or a capture trigger does it for every change of a table (Table.Attach). If the transaction commits, the event will be
// published; if it rolls back, there never was one.
//
// # States
//
// An event is pending from its commit on. The plan gives it a position, which it keeps for ever (Session.Plan). It is
// published when the stream has acknowledged its position, and a receipt says so. One that can never be published is
// parked, until a person decides about it (Table.ReplayDead, Table.DropDead). The view outbox.trail shows every event with its state. No row is ever updated or deleted.
//
// # Schemas
//
// The functions of the package work on the schema "outbox"; In gives the same for another one. Table.Migrate makes the
// tables, and `outbox migrate print` prints them for other tools.
//
// # What it needs
//
// PostgreSQL 14 or newer, and nothing else: the package knows no broker and no cache. A Table is safe for concurrent
// use. A Session belongs to one goroutine at a time, and must not pass a transaction pooler; inserting may.
package outbox
