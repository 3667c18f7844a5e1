-- partitions: the highest id in use, the first id beyond the last partition, and whether the default one has rows that lie beyond it.
-- Plan expected: event_pkey backward on each partition; for the last one only the default partition is read.
WITH partition AS MATERIALIZED (
    SELECT coalesce(max(to_key), 0) AS bound FROM outbox.partition WHERE family = 'event'
)
SELECT (SELECT coalesce(max(id), 0) FROM outbox.event) AS last_id, bound,
       EXISTS (SELECT FROM outbox.event WHERE id >= (SELECT bound FROM partition)) AS default_used
  FROM partition;
