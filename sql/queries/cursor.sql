-- cursor: where the plan ends.
-- Plan expected: batch_pkey backward.
SELECT last_position, head, relay, planned_at
  FROM outbox.batch ORDER BY first_position DESC LIMIT 1;
