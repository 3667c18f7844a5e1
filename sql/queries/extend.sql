-- extend: makes partitions ahead, so that no writer ever needs the default one. Returns how many it made. $1 seconds that events are kept.
SELECT outbox.extend(keep => make_interval(secs => $1::float8));
