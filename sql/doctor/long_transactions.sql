-- long_transactions: transactions of this database that are older than $1 seconds, oldest first, at most 5. A role without
-- pg_read_all_stats sees only its own. Events of a transaction wait for its commit, and the relay cannot sleep while
-- one that inserted events is open.
SELECT pid, coalesce(usename::text, '') AS role, coalesce(application_name, '') AS application, coalesce(state, '') AS state,
       extract(epoch FROM clock_timestamp() - xact_start)::double precision AS age
  FROM pg_stat_activity
 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND datname = current_database()
   AND xact_start < clock_timestamp() - make_interval(secs => $1::double precision)
 ORDER BY xact_start LIMIT 5;
