-- base_insert: appends to the log of bases. A unique violation on base_pkey means that another relay appended first.
INSERT INTO outbox.base (n, stream, stream_created, from_position, base, reason, relay)
VALUES ($1, $2, $3, $4, $5, $6, $7);
