-- trail_key: the trail of the last events of a key, newest first. $1 key  $2 created at or after  $3 at most
-- Plan expected: as trail_event.
SELECT t.id, t.event_id, t.subject, coalesce(t.key, ''), t.created_at, t.state, coalesce(t.position, 0), t.planned_at, coalesce(t.stream, ''),
       coalesce(t.sequence, 0), t.published_at, coalesce(t.reason, ''), coalesce(t.detail, ''), t.parked_at, t.resend_of, t.xid::text,
       e.payload, e.headers,
       coalesce((SELECT b.relay FROM outbox.batch AS b WHERE b.first_position <= t.position ORDER BY b.first_position DESC LIMIT 1), '') AS relay
  FROM outbox.trail_of_key($1::text, $2::timestamptz, $3::int) AS t JOIN LATERAL (SELECT payload, headers FROM outbox.event WHERE id = t.id) AS e ON true
 ORDER BY t.id DESC;
