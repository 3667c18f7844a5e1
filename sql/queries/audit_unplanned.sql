-- audit_unplanned: those of the rows $1 that have no position and were created more than $2 seconds ago, as an audit
-- reports them.
-- Plan expected: event_pkey and batch_ids for each.
SELECT e.id, e.event_id, e.subject, coalesce(e.key, ''), e.created_at
  FROM unnest($1::bigint[]) AS w(id)
 CROSS JOIN LATERAL (SELECT id, event_id, subject, key, created_at FROM outbox.event WHERE id = w.id LIMIT 1) AS e
 WHERE e.created_at < clock_timestamp() - make_interval(secs => $2::float8)
   AND NOT EXISTS (SELECT FROM outbox.batch AS b WHERE b.ids @> e.id)
 ORDER BY e.id;
