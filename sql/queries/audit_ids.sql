-- audit_ids: the row ids after $1 and up to $2, lowest first, at most $3.
-- Plan expected: event_pkey, without the table where possible.
SELECT id FROM outbox.event WHERE id > $1::bigint AND id <= $2::bigint ORDER BY id LIMIT $3::bigint;
