-- recent_events: events to try rules on: before id $1, created at or after $2, newest first, at most $3.
-- Plan expected: event_pkey backward.
SELECT id, event_id, subject, coalesce(key, ''), payload, headers, created_at
  FROM outbox.event WHERE id < $1::bigint AND created_at >= $2::timestamptz ORDER BY id DESC LIMIT $3::int;
