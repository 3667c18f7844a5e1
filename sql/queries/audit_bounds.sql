-- audit_bounds: where the plan ends, the highest row id, and the time.
-- Plan expected: batch_pkey backward, event_pkey backward.
SELECT last_position, head, coalesce((SELECT max(id) FROM outbox.event), 0), clock_timestamp()
  FROM outbox.batch ORDER BY first_position DESC LIMIT 1;
