-- audit_missing: the events at the positions of some spans that are not parked, as an audit reports them. Rows that were
-- dropped are left out.
--   $1 first positions  $2 last positions
-- Plan expected: as audit_plan, and parked_pkey for each row.
WITH run AS (
    SELECT s.first AS low, s.last AS high, b.planned_at, r.ids,
           b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY s.first, b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM unnest($1::bigint[], $2::bigint[]) AS s(first, last)
     CROSS JOIN LATERAL (SELECT first_position, ids, planned_at FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= s.first ORDER BY first_position DESC LIMIT 1), s.first)
               AND first_position <= s.last AND last_position >= s.first
             ORDER BY first_position) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
)
SELECT (run.first + e.id - lower(run.ids))::bigint, e.id, e.event_id, e.subject, coalesce(e.key, ''), run.planned_at
  FROM run
 CROSS JOIN LATERAL (
    SELECT id, event_id, subject, key FROM outbox.event
     WHERE id >= lower(run.ids) + greatest(run.low - run.first, 0)::bigint
       AND id < least(upper(run.ids), lower(run.ids) + greatest(run.high + 1 - run.first, 0)::bigint)) AS e
 WHERE NOT EXISTS (SELECT FROM outbox.parked AS p WHERE p.position = run.first + e.id - lower(run.ids))
 ORDER BY 1;
