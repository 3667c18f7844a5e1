-- lead: tries to take the session lock of the leader. A relay polls it: a statement that waits for a lock holds a
-- snapshot, which holds back vacuum in the whole database.
SELECT pg_try_advisory_lock(hashtextextended('outbox.leader', 0));
