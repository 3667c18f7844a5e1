-- sleep: takes the lock that a relay holds exclusively while it sleeps (see the trigger wake). It returns false while a
-- writer that skipped its NOTIFY is still in a transaction.
SELECT pg_try_advisory_lock(hashtextextended('outbox.wake', 0));
