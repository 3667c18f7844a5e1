-- keep: marks the positions of events that the stream has already, at positions which the plan does not know: it was lost in a
-- fail-over, or made by the original of a copy. $1 event ids  $2 only positions above this one  $3 relay
-- Durable whatever the database's default is. Reads the whole table: event ids have no index, and this is for fail-overs.
-- Plan expected: batch_ids for the batch of each.
WITH there AS (
    SELECT id, event_id, subject FROM outbox.event WHERE event_id = ANY ($1::uuid[])
), place AS (
    SELECT t.*, b.first_position - 1 + (
               SELECT sum(least(upper(r), t.id + 1) - lower(r)) FROM unnest(b.ids) AS r WHERE lower(r) <= t.id)::bigint AS position
      FROM there AS t
     CROSS JOIN LATERAL (SELECT first_position, ids FROM outbox.batch -- the sum keeps the primary key out of the search
                          WHERE first_position = (SELECT max(w.first_position + 0) FROM outbox.batch AS w WHERE w.ids @> t.id)) AS b
)
INSERT INTO outbox.parked (position, id, event_id, subject, reason, detail, relay)
SELECT position, id, event_id, subject, 'displaced', 'published at another position, by a plan that was lost', $3::text
  FROM place
 CROSS JOIN (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable
 WHERE position > $2::bigint
ON CONFLICT (position) DO NOTHING;
