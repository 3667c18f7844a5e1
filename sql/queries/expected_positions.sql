-- expected_positions: the positions from $1 through $2 that were planned at or after $3, are not parked, and whose
-- events the table still has; lowest first, with the row ids. The caller asks for one page of positions at a time.
-- Plan expected: batch_pkey for the batches, event_pkey for each run of ids, parked_pkey.
WITH run AS (
    SELECT b.first_position, r.ordinality, r.ids,
           b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM (SELECT * FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= $1::bigint ORDER BY first_position DESC LIMIT 1), $1::bigint)
               AND first_position <= $2::bigint AND last_position >= $1::bigint AND planned_at >= $3::timestamptz
             ORDER BY first_position) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
)
SELECT (run.first + e.id - lower(run.ids))::bigint AS position, e.id
  FROM run
 CROSS JOIN LATERAL (
    SELECT id FROM outbox.event
     WHERE id >= lower(run.ids) + greatest($1::bigint - run.first, 0)::bigint
       AND id < least(upper(run.ids), lower(run.ids) + greatest($2::bigint + 1 - run.first, 0)::bigint)) AS e
 WHERE NOT EXISTS (SELECT FROM outbox.parked AS p WHERE p.position = run.first + e.id - lower(run.ids))
 ORDER BY 1;
