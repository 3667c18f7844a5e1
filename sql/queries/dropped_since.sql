-- dropped_since: how many events were in dropped partitions that reach time $1 or id $2; creation time and id of the
-- oldest event left.
SELECT coalesce(sum(d.n), 0)::bigint, (SELECT created_at FROM outbox.event ORDER BY id LIMIT 1), coalesce((SELECT min(id) FROM outbox.event), 0)
  FROM outbox.dropped AS d
 WHERE d.family = 'event' AND (d.newest >= $1::timestamptz OR d.to_key > $2::bigint);
