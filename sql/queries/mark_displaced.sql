-- mark_displaced: parks, as displaced, the positions of events that the stream has already, at positions that this plan
-- does not know: the plan that gave them was lost in a fail-over, or belongs to the original of a copied database.
--   $1 event ids  $2 only positions above this one  $3 relay
-- The commit is synchronous, whatever the default of the database. Reads the whole table once, which a fail-over can
-- afford.
-- Plan expected: batch_ids for the batch of each.
WITH stored AS (
    SELECT id, event_id, subject FROM outbox.event WHERE event_id = ANY ($1::uuid[])
), located AS (
    SELECT t.*, b.first_position - 1 + (
               SELECT sum(least(upper(r), t.id + 1) - lower(r)) FROM unnest(b.ids) AS r WHERE lower(r) <= t.id)::bigint AS position
      FROM stored AS t
     CROSS JOIN LATERAL (SELECT first_position, ids FROM outbox.batch -- the + 0 keeps the planner from searching by the primary key
                          WHERE first_position = (SELECT max(w.first_position + 0) FROM outbox.batch AS w WHERE w.ids @> t.id)) AS b
)
INSERT INTO outbox.parked (position, id, event_id, subject, reason, detail, relay)
SELECT position, id, event_id, subject, 'displaced', 'published at another position, by a plan that was lost', $3::text
  FROM located
 CROSS JOIN (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable
 WHERE position > $2::bigint
ON CONFLICT (position) DO NOTHING;
