-- planned_after: when the first batch was planned that starts at position $1 or after it.
-- Plan expected: batch_pkey.
SELECT planned_at FROM outbox.batch WHERE first_position >= $1::bigint ORDER BY first_position LIMIT 1;
