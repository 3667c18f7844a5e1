-- sleep: to be held exclusively while the relay sleeps (see the trigger wake). Fails while a writer that skipped
-- its NOTIFY is still in flight.
SELECT pg_try_advisory_lock(hashtextextended('outbox.wake', 0));
