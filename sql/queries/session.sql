-- session: settings of the relay's session. The plan must be durable before anything is published, so commits are
-- synchronous, whatever the default of the database. JIT would cost more than the statements (11 ms measured). Without
-- sequential and bitmap scans, the statements keep to their indexes on tables that were never analyzed. With the TCP
-- settings, the server detects a host that vanished within 11 s. idle_session_timeout ends the session of a client that
-- has stopped, or whose proxy keeps the connection open, and so releases its locks. $1 application name
SELECT set_config('application_name', $1, false),
       set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                             ELSE current_setting('synchronous_commit') END, false),
       set_config('search_path', 'pg_catalog, pg_temp', false), -- no function that another role created may be called
       set_config('jit', 'off', false),
       set_config('enable_seqscan', 'off', false),
       set_config('enable_bitmapscan', 'off', false),
       set_config('plan_cache_mode', 'force_generic_plan', false),
       set_config('work_mem', '64MB', false),
       set_config('statement_timeout', '60s', false),
       set_config('lock_timeout', '10s', false),
       set_config('idle_in_transaction_session_timeout', '0', false),
       set_config('idle_session_timeout', '8s', false),
       set_config('tcp_keepalives_idle', '5', false),
       set_config('tcp_keepalives_interval', '2', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('tcp_user_timeout', '11000', false);
