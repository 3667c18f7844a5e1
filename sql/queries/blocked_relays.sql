-- blocked_relays: relay sessions that wait for a lock, and the sessions that hold it, longest wait first, at most 5. A role
-- without pg_read_all_stats sees only the pids.
SELECT a.pid, b.pid AS by, coalesce(b.application_name, '') AS application, coalesce(b.usename::text, '') AS role, coalesce(b.state, '') AS state,
       coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0)::float8 AS waits,
       coalesce(extract(epoch FROM clock_timestamp() - b.xact_start), 0)::float8 AS age
  FROM pg_stat_activity AS a
 CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS p(pid)
  JOIN pg_stat_activity AS b ON b.pid = p.pid
 WHERE a.datname = current_database() AND a.application_name LIKE 'outbox relay%'
 ORDER BY a.query_start LIMIT 5;
