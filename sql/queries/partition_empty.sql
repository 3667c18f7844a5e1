-- partition_empty: see outbox.empty_partition. $1 name  $2 seconds that events are kept
SELECT outbox.empty_partition($1::text, make_interval(secs => $2::float8));
