-- trail_event: the trail of the event with event_id $1 and of its copies, oldest first.
-- Plan expected: event_pkey for the payload, batch_pkey; for the rest see outbox.trail_of_event.
SELECT t.id, t.event_id, t.subject, coalesce(t.key, ''), t.created_at, t.state, coalesce(t.position, 0), t.planned_at, coalesce(t.stream, ''),
       coalesce(t.sequence, 0), t.published_at, coalesce(t.reason, ''), coalesce(t.detail, ''), t.parked_at, t.resend_of, t.xid::text,
       e.payload, e.headers,
       coalesce((SELECT b.relay FROM outbox.batch AS b WHERE b.first_position <= t.position ORDER BY b.first_position DESC LIMIT 1), '') AS relay
  FROM outbox.trail_of_event($1::uuid) AS t JOIN LATERAL (SELECT payload, headers FROM outbox.event WHERE id = t.id) AS e ON true
 ORDER BY t.id LIMIT 1000;
