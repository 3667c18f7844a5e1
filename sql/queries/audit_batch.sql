-- audit_batch: the first position of the batch at or behind position $1; none when there is no such batch. Plan expected: batch_pkey.
SELECT first_position FROM outbox.batch WHERE first_position >= $1::bigint ORDER BY first_position LIMIT 1;
