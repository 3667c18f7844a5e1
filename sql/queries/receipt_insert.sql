-- receipt_insert: evidence that everything up to a position was acknowledged.
INSERT INTO outbox.receipt (stream, stream_created, position, sequence, relay) VALUES ($1, $2, $3, $4, $5);
