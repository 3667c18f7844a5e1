-- replicas: the end of the WAL that is on disk here, and the end of the WAL that the slowest of the replicas $1
-- (application_name) has replayed, or 0 if one is not connected; both in bytes since the start of the WAL. All that the
-- relay publishes is on disk, because its plan is. readable is false if this role cannot see the progress of replicas
-- (pg_read_all_stats, part of pg_monitor).
-- Plan expected: one row per name joined to pg_stat_replication.
SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::bigint AS flushed,
       (SELECT coalesce(min(coalesce(pg_wal_lsn_diff(r.replay_lsn, '0/0'), 0)), 0)::bigint
          FROM unnest($1::text[]) AS w (name) LEFT JOIN pg_stat_replication r ON r.application_name = w.name) AS replayed,
       pg_has_role('pg_read_all_stats', 'USAGE') AS readable;
