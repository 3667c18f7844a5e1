-- replay_step: one step of a replay: copies the next matching events in position order, and records where the next step
-- starts.
--   $1 job  $2 number of the step  $3 first position  $4 last position of all  $5 positions to scan at most
--   $6 events to copy at most  $7 bytes of payload, about (at least one event)  $8 created at or after  $9 created before
--   $10 subjects as regular expressions, NULL for all  $11 keys, NULL for all  $12 first id  $13 last id
--   $14 prefix of the copies' subjects  $15 scanned so far  $16 copied so far  $17 copies of the whole job at most
-- Copies are left out, because their originals are included, and so are positions where nothing was published. The
-- exception is a copy of a parked event: it replaces its original (replaces_parked). A unique violation on step_pkey
-- means that another runner took the step.
-- Plan expected: batch_pkey, event_pkey for each run of ids and for each row copied. OFFSET 0 and id + 0 keep the
-- planner from one scan of the whole table for all runs, which took half a second for a step of 128 among 20,000
-- events.
WITH span AS (
    SELECT least($4::bigint, $3::bigint + $5::bigint - 1) AS last
), run AS (
    SELECT b.first_position, r.ids, b.first_position + sum(upper(r.ids) - lower(r.ids)) OVER (PARTITION BY b.first_position ORDER BY r.ordinality)
               - (upper(r.ids) - lower(r.ids)) AS first
      FROM (SELECT * FROM outbox.batch
             WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch
                                                WHERE first_position <= $3::bigint ORDER BY first_position DESC LIMIT 1), $3::bigint)
               AND first_position <= (SELECT last FROM span) AND last_position >= $3::bigint) AS b
     CROSS JOIN LATERAL unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)
), found AS MATERIALIZED (
    SELECT (run.first + e.id - lower(run.ids))::bigint AS position, e.id, e.bytes
      FROM run CROSS JOIN span
     CROSS JOIN LATERAL (
        SELECT id, octet_length(payload) AS bytes FROM outbox.event
         WHERE id >= lower(run.ids) + greatest($3::bigint - run.first, 0)::bigint
           AND id < least(upper(run.ids), lower(run.ids) + greatest(span.last + 1 - run.first, 0)::bigint)
           AND CASE WHEN resend_of IS NULL THEN true ELSE outbox.replaces_parked(event_id) END AND created_at >= $8::timestamptz AND created_at < $9::timestamptz
           AND ($10::text[] IS NULL OR subject ~ ANY ($10::text[])) AND ($11::text[] IS NULL OR key = ANY ($11::text[]))
           AND id + 0 BETWEEN $12::bigint AND $13::bigint OFFSET 0) AS e
     WHERE NOT EXISTS (SELECT FROM outbox.parked AS p WHERE p.position = run.first + e.id - lower(run.ids))
), sized AS (
    SELECT *, row_number() OVER w AS n, sum(bytes) OVER w - bytes AS before FROM found WINDOW w AS (ORDER BY position ROWS UNBOUNDED PRECEDING)
), page AS MATERIALIZED (
    SELECT * FROM sized WHERE n <= least($6::bigint, $17::bigint - $16::bigint) AND before < $7::bigint
), copied AS (
    INSERT INTO outbox.event (subject, key, payload, content_type, headers, resend_of)
    SELECT CASE WHEN $14::text = '' THEN e.subject ELSE $14::text || '.' || e.subject END, e.key, e.payload, e.content_type, e.headers, coalesce(e.resend_of, e.event_id)
      FROM (SELECT id, position FROM page ORDER BY position) AS p
     CROSS JOIN LATERAL (SELECT * FROM outbox.event WHERE id = p.id LIMIT 1) AS e
     ORDER BY p.position
    RETURNING 1
), next AS (
    SELECT CASE WHEN (SELECT count(*) FROM page) < (SELECT count(*) FROM found) THEN (SELECT max(position) + 1 FROM page) ELSE (SELECT last + 1 FROM span) END AS position,
           $16::bigint + (SELECT count(*) FROM copied) AS copies
)
INSERT INTO outbox.step (job, n, cursor, scanned, events, done)
SELECT $1::uuid, $2::bigint, jsonb_build_object('position', position), $15::bigint + position - $3::bigint, copies, position > $4::bigint OR copies >= $17::bigint
  FROM next
RETURNING n, cursor, scanned, events, done, at;
