-- backfill_holders: who has written to a table in a transaction that is still open, the oldest first, at most 3. $1 table. Reads the lock table.
SELECT DISTINCT ON (a.xact_start, a.pid) format('%s (pid %s, %s) for %s', coalesce(nullif(a.application_name, ''), a.usename), a.pid, a.state, date_trunc('second', clock_timestamp() - a.xact_start))
  FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
 WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'RowShareLock') AND a.pid <> pg_backend_pid()
   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT to_regclass($1::text) UNION ALL SELECT relid FROM pg_partition_tree(to_regclass($1::text)))
 ORDER BY a.xact_start, a.pid LIMIT 3;
