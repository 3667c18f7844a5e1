-- table: what the protocol relies on. Reads the catalogs only, so it requires no right on the schema. $1 schema.
--   xid_column, id_column  their column numbers: defaults are evaluated in this order, so xid must come first
--   cache                  of the sequence of id: with more than 1, ids would be handed out in the wrong order
--   wake                   pg_trigger.tgenabled of the trigger: O is on; empty means that the trigger is missing
--   missing                rights that a relay needs and this role lacks: those of outbox_relay in roles.sql
--   can_extend             this role can create partitions: outbox.extend does so as its owner, who must own the table
SELECT coalesce((SELECT attnum FROM pg_attribute WHERE attrelid = e.oid AND attname = 'xid' AND NOT attisdropped), 0)::integer AS xid_column,
       coalesce((SELECT attnum FROM pg_attribute WHERE attrelid = e.oid AND attname = 'id' AND NOT attisdropped), 0)::integer  AS id_column,
       coalesce((SELECT s.seqcache
                   FROM pg_depend d JOIN pg_sequence s ON s.seqrelid = d.objid
                   JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
                  WHERE d.refobjid = e.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'i' AND a.attname = 'id'), 0) AS cache,
       coalesce((SELECT tgenabled::text FROM pg_trigger WHERE tgrelid = e.oid AND tgname = 'wake' AND NOT tgisinternal), '')   AS wake,
       coalesce((SELECT array_agg(right_ ORDER BY right_)
                   FROM (SELECT 'USAGE on schema ' || n.nspname AS right_ WHERE NOT has_schema_privilege(n.oid, 'USAGE')
                         UNION ALL
                         SELECT p || ' on ' || n.nspname || '.' || c.relname
                           FROM pg_class c CROSS JOIN unnest(ARRAY['SELECT', 'INSERT']) AS p
                          WHERE c.relnamespace = n.oid AND c.relname IN ('batch', 'base', 'receipt', 'parked', 'cluster')
                            AND NOT has_table_privilege(c.oid, p)
                         UNION ALL
                         SELECT 'SELECT on ' || n.nspname || '.' || c.relname
                           FROM pg_class c
                          WHERE c.relnamespace = n.oid AND c.relname IN ('event', 'decision', 'migration', 'partition', 'dropped', 'pause') AND NOT has_table_privilege(c.oid, 'SELECT')
                         UNION ALL
                         SELECT 'EXECUTE on ' || n.nspname || '.' || p.proname
                           FROM pg_proc p
                          WHERE p.pronamespace = n.oid AND p.proname IN ('partitions', 'empty_partition', 'drop_partition') AND NOT has_function_privilege(p.oid, 'EXECUTE')) AS lacks),
                '{}') AS missing,
       EXISTS (SELECT FROM pg_proc p
                WHERE p.pronamespace = n.oid AND p.proname = 'extend' AND has_function_privilege(p.oid, 'EXECUTE')
                  AND pg_has_role(p.proowner, e.relowner, 'USAGE') AND has_schema_privilege(p.proowner, n.oid, 'CREATE')) AS can_extend
  FROM pg_namespace n JOIN pg_class e ON e.relnamespace = n.oid AND e.relname = 'event'
 WHERE n.nspname = $1;
