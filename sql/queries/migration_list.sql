-- migration_list: the migrations that were applied, in order.
SELECT version, name, applied_at FROM outbox.migration ORDER BY version;
