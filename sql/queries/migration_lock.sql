-- migration_lock: one migrator at a time; ends with the transaction.
SELECT pg_advisory_xact_lock(hashtextextended('outbox.migration', 0));
