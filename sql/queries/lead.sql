-- lead: the session lock of the one leader. Tried again and again instead of waited for: a waiting statement
-- holds a snapshot, and with it back the vacuum of the whole database.
SELECT pg_try_advisory_lock(hashtextextended('outbox.leader', 0));
