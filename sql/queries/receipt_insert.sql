-- receipt_insert: evidence that the stream acknowledged everything up to a position.
INSERT INTO outbox.receipt (stream, stream_created, position, sequence, relay) VALUES ($1, $2, $3, $4, $5);
