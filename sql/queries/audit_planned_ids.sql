-- audit_planned_ids: the row ids from $1 through $2 that have a position, as runs with both ends included. Runs may
-- overlap.
-- Plan expected: batch_ids, or the whole of outbox.batch where all of it is asked for.
SELECT lower(r), upper(r) - 1 FROM outbox.batch AS b CROSS JOIN LATERAL unnest(b.ids) AS r WHERE b.ids && int8range($1::bigint, $2::bigint, '[]');
