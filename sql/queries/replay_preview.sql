-- replay_preview: what a replay of some positions would copy: the number of each subject with its first and last time,
-- and the ids of the first ten rows. The parameters mean the same as those of replay_step.
--   $1 first position  $2 last position of all  $3 positions to scan  $4 created at or after  $5 created before
--   $6 subjects  $7 keys  $8 first id  $9 last id  $10 copies at most
-- Plan expected: as replay_step.
WITH span AS (
    SELECT least($2::bigint, $1::bigint + $3::bigint - 1) AS last
), run AS (
    SELECT b.first_position, r.ids, b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM (SELECT * FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= $1::bigint ORDER BY first_position DESC LIMIT 1), $1::bigint)
               AND first_position <= (SELECT last FROM span) AND last_position >= $1::bigint) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
), found AS MATERIALIZED (
    SELECT (run.first + e.id - lower(run.ids))::bigint AS position, e.*
      FROM run CROSS JOIN span
     CROSS JOIN LATERAL (
        SELECT id, subject, created_at FROM outbox.event
         WHERE id >= lower(run.ids) + greatest($1::bigint - run.first, 0)::bigint
           AND id < least(upper(run.ids), lower(run.ids) + greatest(span.last + 1 - run.first, 0)::bigint)
           AND CASE WHEN resend_of IS NULL THEN true ELSE outbox.replaces_parked(event_id) END AND created_at >= $4::timestamptz AND created_at < $5::timestamptz
           AND ($6::text[] IS NULL OR subject ~ ANY ($6::text[])) AND ($7::text[] IS NULL OR key = ANY ($7::text[]))
           AND id + 0 BETWEEN $8::bigint AND $9::bigint OFFSET 0) AS e
     WHERE NOT EXISTS (SELECT FROM outbox.parked AS p WHERE p.position = run.first + e.id - lower(run.ids))
     ORDER BY 1 LIMIT $10::bigint
)
SELECT subject, count(*), min(created_at), max(created_at),
       CASE WHEN row_number() OVER (ORDER BY min(position)) = 1 THEN (SELECT array_agg(id ORDER BY position) FROM (SELECT id, position FROM found ORDER BY position LIMIT 10) AS ten) END
  FROM found GROUP BY subject ORDER BY min(position);
