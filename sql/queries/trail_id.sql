-- trail_id: the trail of the rows $1, newest first.
-- Plan expected: event_pkey; for each event as trail_event; for OFFSET 0 see outbox.trail_of_key.
SELECT t.id, t.event_id, t.subject, coalesce(t.key, ''), t.created_at, t.state, coalesce(t.position, 0), t.planned_at, coalesce(t.stream, ''),
       coalesce(t.sequence, 0), t.published_at, coalesce(t.reason, ''), coalesce(t.detail, ''), t.parked_at, t.resend_of, t.xid::text,
       e.payload, e.headers,
       coalesce((SELECT b.relay FROM outbox.batch AS b WHERE b.first_position <= t.position ORDER BY b.first_position DESC LIMIT 1), '') AS relay
  FROM unnest($1::bigint[]) AS w(id)
  JOIN LATERAL (SELECT * FROM outbox.trail WHERE id = w.id OFFSET 0) AS t ON true
  JOIN LATERAL (SELECT payload, headers FROM outbox.event WHERE id = w.id) AS e ON true
 ORDER BY t.id DESC;
