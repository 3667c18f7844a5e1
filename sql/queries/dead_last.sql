-- dead_last: the last position that was set aside; what comes later is not looked at, or what is parked again would be
-- replayed without an end. Plan expected: parked_pkey backward.
SELECT coalesce(max(position), 0) FROM outbox.parked;
