-- dead_last: the highest parked position. A command over all parked events stops there: an event whose copy is parked
-- again would otherwise be replayed without end.
-- Plan expected: parked_pkey backward.
SELECT coalesce(max(position), 0) FROM outbox.parked;
