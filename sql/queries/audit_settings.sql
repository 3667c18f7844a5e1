-- audit_settings: settings for the transaction of an audit. They keep its statements to their indexes on tables that
-- were never analyzed, and turn off JIT, which would cost more than a page. $1 enable_seqscan  $2 enable_bitmapscan
SELECT set_config('jit', 'off', true), set_config('enable_seqscan', $1::text, true), set_config('enable_bitmapscan', $2::text, true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('search_path', 'pg_catalog, pg_temp', true);
