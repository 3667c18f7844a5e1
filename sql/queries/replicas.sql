-- replicas: up to where the WAL is on disk here, and up to where the slowest of the replicas $1 (application_name) has replayed it; 0
-- when one of them is not connected. Both in bytes since the beginning. What the relay publishes is on disk, since its plan is.
-- readable is false when this role does not see how far replicas are (pg_read_all_stats, a part of pg_monitor).
-- Plan expected: one row per name joined to pg_stat_replication.
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS flushed,
       (SELECT coalesce(min(coalesce(pg_wal_lsn_diff(r.replay_lsn, '0/0'), 0)), 0)::bigint
          FROM unnest($1::text[]) AS w (name) LEFT JOIN pg_stat_replication r ON r.application_name = w.name) AS replayed,
       pg_has_role('pg_read_all_stats', 'USAGE') AS readable;
