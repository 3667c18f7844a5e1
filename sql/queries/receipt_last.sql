-- receipt_last: the newest receipt of stream $1.
-- Plan expected: receipt_pkey backward.
SELECT stream_created, position, sequence, acked_at FROM outbox.receipt WHERE stream = $1 ORDER BY id DESC LIMIT 1;
