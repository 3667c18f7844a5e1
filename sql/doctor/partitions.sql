-- partitions: the highest id in use, the first id beyond the last partition, and whether the default one has rows.
-- Plan expected: event_pkey backward on each partition.
SELECT (SELECT coalesce(max(id), 0) FROM outbox.event) AS last_id,
       (SELECT coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint), 0)
          FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox.event'::regclass) AS bound,
       EXISTS (SELECT FROM outbox.event_default) AS default_used;
