-- migration_list: what was applied, in order.
SELECT version, name, applied_at FROM outbox.migration ORDER BY version;
