-- audit_plan: the rows at the positions of some spans, in no order: position, row id, event id and a hash of the key.
--   $1 first positions  $2 last positions
-- Rows that were dropped are left out. A page of an audit asks for as many positions as it has messages.
-- Plan expected: batch_pkey for the batches of each span, event_pkey for each run of ids.
WITH run AS (
    SELECT s.first AS low, s.last AS high, r.ids,
           b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY s.first, b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM unnest($1::bigint[], $2::bigint[]) AS s(first, last)
     CROSS JOIN LATERAL (SELECT first_position, ids FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= s.first ORDER BY first_position DESC LIMIT 1), s.first)
               AND first_position <= s.last AND last_position >= s.first
             ORDER BY first_position) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
)
SELECT (run.first + e.id - lower(run.ids))::bigint, e.id, e.event_id, e.key
  FROM run
 CROSS JOIN LATERAL (
    SELECT id, event_id, hashtextextended(coalesce(key, subject), 0) AS key FROM outbox.event
     WHERE id >= lower(run.ids) + greatest(run.low - run.first, 0)::bigint
       AND id < least(upper(run.ids), lower(run.ids) + greatest(run.high + 1 - run.first, 0)::bigint)) AS e;
