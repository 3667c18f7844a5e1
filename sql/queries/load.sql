-- load: planned events from position $1 on, in position order: at most $2, and about $3 bytes of payload (at least one
-- event). The caller reads one page, and asks again from the position after its last row.
-- Plan expected: batch_pkey for the batches, event_pkey for each run of ids, parked_pkey.
WITH run AS (
    SELECT b.first_position, b.planned_at, b.resend, r.ordinality, r.ids,
           b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM (SELECT * FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= $1::bigint ORDER BY first_position DESC LIMIT 1), $1::bigint)
               AND first_position < $1::bigint + $2::bigint AND last_position >= $1::bigint
             ORDER BY first_position) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
), page AS (
    SELECT (run.first + e.id - lower(run.ids))::bigint AS position, e.*, run.planned_at, run.resend
      FROM run
     CROSS JOIN LATERAL (
        SELECT id, event_id, subject, key, payload, content_type, headers, resend_of, created_at
          FROM outbox.event
         WHERE id >= lower(run.ids) + greatest($1::bigint - run.first, 0)::bigint AND id < upper(run.ids)
         ORDER BY id
         LIMIT $2::bigint) AS e
     WHERE run.first < $1::bigint + $2::bigint
     ORDER BY 1
     LIMIT $2::bigint
), sized AS (
    SELECT *, sum(octet_length(payload)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - octet_length(payload) AS bytes_before
      FROM page
)
SELECT s.position, s.id, s.event_id, s.subject, s.key, s.payload, s.content_type, s.headers, s.resend_of, s.created_at,
       s.planned_at, coalesce(p.reason, '') AS parked, s.resend
  FROM sized AS s LEFT JOIN outbox.parked AS p USING (position)
 WHERE s.bytes_before < $3::bigint OR s.position = $1::bigint
 ORDER BY s.position;
