-- audit_copy: inserts a copy of each of the rows $1, in id order, so that consumers end with the newest state of each
-- key.
-- Plan expected: event_pkey for each.
INSERT INTO outbox.event (subject, key, payload, content_type, headers, resend_of)
SELECT e.subject, e.key, e.payload, e.content_type, e.headers, coalesce(e.resend_of, e.event_id)
  FROM unnest($1::bigint[]) AS w(id) CROSS JOIN LATERAL (SELECT * FROM outbox.event WHERE id = w.id LIMIT 1) AS e
 ORDER BY w.id
RETURNING id;
