-- planned_after: when the batch was planned that position $1 is in, or the first one behind it. Plan expected: batch_pkey.
SELECT planned_at FROM outbox.batch WHERE first_position >= $1::bigint ORDER BY first_position LIMIT 1;
