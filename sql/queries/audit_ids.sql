-- audit_ids: the ids of the rows after $1 through $2, lowest first, $3 at most. Plan expected: event_pkey, as far as possible without the table.
SELECT id FROM outbox.event WHERE id > $1::bigint AND id <= $2::bigint ORDER BY id LIMIT $3::bigint;
