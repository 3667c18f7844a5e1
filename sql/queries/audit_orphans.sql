-- audit_orphans: plans those of the rows $1 that have no position and that no planner will ever find: rows up to the
-- head, of a transaction that the cursor's snapshot saw as finished or from another cluster. Returns their number, or
-- no row.
--   $1 row ids  $2 name of the caller
-- A unique violation on batch_pkey means that a relay planned meanwhile. The commit is synchronous, whatever the default
-- of the database, because the batch is published next.
-- Plan expected: event_pkey and batch_ids for each.
WITH last AS MATERIALIZED (
    SELECT last_position, head, snapshot, coalesce((SELECT settled FROM outbox.cluster ORDER BY n DESC LIMIT 1), 0) AS settled
      FROM (SELECT * FROM outbox.batch ORDER BY first_position DESC LIMIT 1) AS b WHERE late_from IS NULL
), orphan AS MATERIALIZED (
    SELECT e.id
      FROM last CROSS JOIN unnest($1::bigint[]) AS w(id)
     CROSS JOIN LATERAL (SELECT id, xid FROM outbox.event WHERE id = w.id LIMIT 1) AS e
     WHERE e.id <= last.head AND (e.id <= last.settled OR pg_visible_in_snapshot(e.xid, last.snapshot))
       AND NOT EXISTS (SELECT FROM outbox.batch AS b WHERE b.ids @> e.id)
), n AS (
    SELECT count(*) AS n, range_agg(int8range(id, id, '[]')) AS ids FROM orphan
)
INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot, relay)
SELECT last_position + 1, last_position + n.n, n.ids, head, snapshot, $2::text
  FROM last CROSS JOIN n
 CROSS JOIN (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable
 WHERE n.n > 0
RETURNING last_position - first_position + 1;
