-- audit_dropped: those of the positions $1 whose rows were in partitions that have been dropped.
-- Plan expected: for each position, batch_pkey backward for its batch.
SELECT w.position
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
 WHERE EXISTS (SELECT FROM outbox.dropped AS d WHERE d.family = 'event' AND d.from_key <= at.id AND d.to_key > at.id);
