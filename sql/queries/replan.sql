-- replan: gives planned events new positions at the end of the plan, because the stream has something else where their
-- old positions belong.
--   $1 positions in ascending order  $2 their row ids  $3 relay
-- The old positions are parked as displaced, so that no relay publishes the events there as well. The cursor stays the
-- same. A unique violation on batch_pkey means that another relay planned meanwhile. One on parked_pkey cannot occur,
-- because the caller leaves out parked positions. The commit is synchronous, whatever the default of the database,
-- because the batch is published next.
WITH last AS (
    SELECT last_position, head, snapshot, late_from, late_until, late_after
      FROM outbox.batch ORDER BY first_position DESC LIMIT 1
), moved AS (
    SELECT m.position, m.id, last.last_position + row_number() OVER (ORDER BY m.id) AS now_at
      FROM unnest($1::bigint[], $2::bigint[]) AS m(position, id) CROSS JOIN last
), planned AS (
    INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot, late_from, late_until, late_after,
                              resend, relay)
    SELECT last_position + 1, last_position + (SELECT count(*) FROM moved),
           (SELECT range_agg(int8range(id, id, '[]')) FROM moved),
           head, snapshot, late_from, late_until, late_after, true, $3::text
      FROM last
)
INSERT INTO outbox.parked (position, id, event_id, subject, reason, detail, relay)
SELECT m.position, e.id, e.event_id, e.subject, 'displaced', 'published at position ' || m.now_at, $3::text
  FROM moved AS m JOIN outbox.event AS e USING (id)
 CROSS JOIN (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable;
