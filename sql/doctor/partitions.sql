-- partitions: the highest id in use, the first id beyond the last partition, and whether the default partition has rows
-- beyond it.
-- Plan expected: event_pkey backward on each partition; for EXISTS only the default partition is read.
WITH partition AS MATERIALIZED (
    SELECT coalesce(max(to_key), 0) AS bound FROM outbox.partition WHERE family = 'event'
)
SELECT (SELECT coalesce(max(id), 0) FROM outbox.event) AS last_id, bound,
       EXISTS (SELECT FROM outbox.event WHERE id >= (SELECT bound FROM partition)) AS default_used
  FROM partition;
