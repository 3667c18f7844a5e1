-- dead_rows: the events at positions $1 that the table still has.
-- Plan expected: for each position batch_pkey backward for its batch, then event_pkey; the LIMITs ensure it.
SELECT w.position, e.event_id, e.subject, coalesce(e.key, '') AS key, e.payload, e.content_type, e.headers, e.resend_of, e.created_at
  FROM unnest($1::bigint[]) AS w(position)
 CROSS JOIN LATERAL (
    SELECT first_position, ids FROM outbox.batch WHERE first_position <= w.position ORDER BY first_position DESC LIMIT 1) AS b
 CROSS JOIN LATERAL (
    SELECT lower(run.ids) + w.position - run.first AS id
      FROM (SELECT r.ids, upper(r.ids) - lower(r.ids) AS n,
                   b.first_position + (sum(upper(r.ids) - lower(r.ids)) OVER (ORDER BY r.ordinality))::bigint
                       - (upper(r.ids) - lower(r.ids)) AS first
              FROM unnest(b.ids) WITH ORDINALITY AS r(ids, ordinality)) AS run
     WHERE w.position >= run.first AND w.position < run.first + run.n
     LIMIT 1) AS at
 CROSS JOIN LATERAL (SELECT * FROM outbox.event WHERE id = at.id LIMIT 1) AS e;
