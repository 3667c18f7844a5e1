-- audit_runs: which row ids from $1 through $2 have a position: runs, both ends included; some twice.
-- Plan expected: batch_ids, or all of outbox.batch where all of it is asked for.
SELECT lower(r), upper(r) - 1 FROM outbox.batch AS b CROSS JOIN LATERAL unnest(b.ids) AS r WHERE b.ids && int8range($1::bigint, $2::bigint, '[]');
