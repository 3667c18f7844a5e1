-- partition_empty: gives the space of partition $1 back, if it is due when events are kept for $2 seconds.
SELECT outbox.empty_partition($1::text, make_interval(secs => $2::float8));
