-- backfill_holders: transactions that may hold locks on rows of a table: open ones that have written to it or locked
-- its rows, and all prepared ones; oldest first, at most 3. $1 table. Reads the lock table.
SELECT text FROM (
    SELECT DISTINCT ON (a.pid) a.xact_start AS began, format('%s (pid %s, %s)', coalesce(nullif(a.application_name, ''), a.usename), a.pid, a.state) AS who
      FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
     WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'RowShareLock') AND a.pid <> pg_backend_pid()
       AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.relation IN (SELECT to_regclass($1::text) UNION ALL SELECT relid FROM pg_partition_tree(to_regclass($1::text)))
    UNION ALL
    SELECT prepared, format('prepared transaction %s', gid) FROM pg_prepared_xacts WHERE database = current_database()
) AS h
CROSS JOIN LATERAL (SELECT who || ' for ' || date_trunc('second', clock_timestamp() - began)) AS t(text)
 ORDER BY began LIMIT 3;
