-- partitions: the highest id in use, the first id beyond the last partition, and whether the default one has rows, which are those from
-- there on: asked of the parent, for nobody but the owner may read a partition.
-- Plan expected: event_pkey backward on each partition; for the last one only the default partition is read.
WITH partition AS MATERIALIZED (
    SELECT coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint), 0) AS bound
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'outbox.event'::regclass
)
SELECT (SELECT coalesce(max(id), 0) FROM outbox.event) AS last_id, bound,
       EXISTS (SELECT FROM outbox.event WHERE id >= (SELECT bound FROM partition)) AS default_used
  FROM partition;
