-- adopt: lets an outbox that was restored into another cluster continue there. It plans every event that the plan of
-- the old cluster had not reached, fresh or late, as one batch, whatever the xids. No row up to the settled id will
-- ever be late again. Returns the number of these events, and the settled id.
--   $1 system identifier  $2 timeline  $3 name of the caller
-- Runs after adopt_lock, in the same transaction. The commit is synchronous, whatever the default of the database.
-- Plan expected: the whole table once, by event_pkey, without fetching rows.
WITH last AS (
    SELECT last_position, head FROM outbox.batch ORDER BY first_position DESC LIMIT 1
), present AS (
    SELECT range_agg(int8range(first, last, '[]')) AS ids
      FROM (SELECT min(id) AS first, max(id) AS last
              FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM outbox.event) AS e GROUP BY island) AS i
), planned AS (
    SELECT range_agg(r) AS ids FROM outbox.batch, unnest(ids) AS r
), unplanned AS (
    SELECT coalesce(r.ids, '{}') - coalesce(p.ids, '{}') AS ids FROM present AS r, planned AS p
), count AS (
    SELECT coalesce(sum(upper(r) - lower(r)), 0)::bigint AS n FROM unplanned, unnest(ids) AS r
), settled AS (
    SELECT greatest(last.head, coalesce((SELECT max(id) FROM outbox.event), 0)) AS id FROM last
), batch AS (
    INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot, relay)
    SELECT last.last_position + 1, last.last_position + count.n, unplanned.ids, settled.id, pg_current_snapshot(), $3::text
      FROM last, unplanned, count, settled WHERE count.n > 0
), recorded AS (
    INSERT INTO outbox.cluster (n, system_identifier, timeline, settled, reason, relay)
    SELECT coalesce((SELECT max(n) FROM outbox.cluster), 0) + 1, $1::bigint, $2::integer, settled.id, 'adopted', $3::text FROM settled
)
SELECT count.n, settled.id
  FROM count, settled
 CROSS JOIN (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable;
