-- audit_settings: what the statements of an audit need in their transaction: each keeps to its indexes on tables that were never
-- analyzed, and JIT costs more than a page. $1 enable_seqscan  $2 enable_bitmapscan
SELECT set_config('jit', 'off', true), set_config('enable_seqscan', $1::text, true), set_config('enable_bitmapscan', $2::text, true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('search_path', 'pg_catalog, pg_temp', true);
