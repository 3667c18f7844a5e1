-- partitions: see outbox.partitions. $1 seconds that events are kept
SELECT family, name, coalesce(from_key, 0), coalesce(to_key, 0), created_at, state, coalesce(reason, ''), done_at, bytes
  FROM outbox.partitions(make_interval(secs => $1::float8));
