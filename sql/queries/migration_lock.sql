-- migration_lock: admits one migrator at a time, until the end of its transaction.
SELECT pg_advisory_xact_lock(hashtextextended('outbox.migration', 0));
