-- cursor: how far the plan goes, and in which cluster it was made. Plan expected: batch_pkey backward.
SELECT last_position, head, coalesce(system_identifier, 0), coalesce(timeline, 0), relay, planned_at
  FROM outbox.batch ORDER BY first_position DESC LIMIT 1;
