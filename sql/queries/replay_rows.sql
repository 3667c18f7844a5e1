-- replay_rows: the only step of a replay of single rows. A copy of a copy names the first original.
--   $1 job  $2 row ids, in the order of the copies  $3 prefix of the copies' subjects
-- Plan expected: event_pkey for each.
WITH copied AS (
    INSERT INTO outbox.event (subject, key, payload, content_type, headers, resend_of)
    SELECT CASE WHEN $3::text = '' THEN e.subject ELSE $3::text || '.' || e.subject END, e.key, e.payload, e.content_type, e.headers, coalesce(e.resend_of, e.event_id)
      FROM unnest($2::bigint[]) WITH ORDINALITY AS w(id, n)
     CROSS JOIN LATERAL (SELECT * FROM outbox.event WHERE id = w.id LIMIT 1) AS e
     ORDER BY w.n
    RETURNING 1
)
INSERT INTO outbox.step (job, n, cursor, scanned, events, done)
SELECT $1::uuid, 1, 'null', coalesce(cardinality($2::bigint[]), 0), (SELECT count(*) FROM copied), true
RETURNING n, cursor, scanned, events, done, at;
