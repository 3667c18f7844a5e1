-- batch_from: the first position of the first batch that starts at position $1 or after it; no row if there is none.
-- Plan expected: batch_pkey.
SELECT first_position FROM outbox.batch WHERE first_position >= $1::bigint ORDER BY first_position LIMIT 1;
