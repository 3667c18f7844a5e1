-- dropped_since: how many events were dropped that were created at or after $1 or have id $2 or above, and when the oldest one that is there was created.
SELECT coalesce(sum(d.n), 0)::bigint, (SELECT created_at FROM outbox.event ORDER BY id LIMIT 1), coalesce((SELECT min(id) FROM outbox.event), 0)
  FROM outbox.dropped AS d
 WHERE d.family = 'event' AND (d.newest >= $1::timestamptz OR d.to_key > $2::bigint);
