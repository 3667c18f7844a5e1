-- session: what the relay's session needs. The plan must be durable before anything is published, so its commits
-- are synchronous even where the database's are not. JIT costs more than the statements (11 ms measured), and
-- the statements keep to their indexes on tables that were never analyzed only without these scans. The TCP
-- settings let the server find a host that vanished within 11 s, and idle_session_timeout one that is stopped, or hidden behind a
-- proxy that keeps the connection up, so that its locks end. $1 application name.
SELECT set_config('application_name', $1, false),
       set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                             ELSE current_setting('synchronous_commit') END, false),
       set_config('search_path', 'pg_catalog, pg_temp', false), -- nobody else's functions, whoever may create some
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
