-- migration_insert: records a migration, in the transaction of the migration itself.
INSERT INTO outbox.migration (version, name) VALUES ($1, $2);
