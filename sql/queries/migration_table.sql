-- migration_table: the migrations that this schema has.
CREATE TABLE IF NOT EXISTS outbox.migration (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
