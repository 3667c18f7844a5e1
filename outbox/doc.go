// Package outbox inserts events into a transactional outbox in PostgreSQL, from where a relay publishes them to a
// stream.
//
// A service inserts an event in the transaction of the change that the event describes:
//
//	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
//		if _, err := tx.Exec(ctx, "UPDATE users SET name = $1 WHERE id = 42", name); err != nil {
//			return err
//		}
//		_, err := outbox.Insert(ctx, tx, outbox.Event{Subject: "users.42.updated", Key: "42", Payload: payload})
//		return err
//	})
//
// If the transaction commits, the relay publishes the event, in the order of commits per key. If the transaction rolls
// back, the event never existed. Insert takes a transaction of pgx, InsertSQL one of database/sql.
//
// Without changing a service, Table.Attach adds triggers that insert an event for each change of a table.
//
// # States
//
// An event is pending from its commit on. The relay gives it a position, a gapless number that it keeps, and publishes
// it. It is published as soon as the stream has acknowledged it. The relay parks an event that the stream refuses for
// good; a person then replays or drops it with `outbox dead`. The view outbox.trail shows the state of every event. No
// row is ever updated or deleted: retention drops whole partitions.
//
// # Schema
//
// Table.Migrate creates and updates the tables; `outbox migrate print` prints the same statements for other tools.
// The functions of this package use the schema "outbox". In returns a Table for another schema, so that several
// outboxes fit into one database.
//
// # Requirements
//
// PostgreSQL 14 or newer. Inserting works through a transaction pooler. The package imports no client of a broker or
// cache; consumers read events with package outbox/event. A Table and the functions are safe for concurrent use.
package outbox
