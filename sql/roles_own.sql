-- roles_own: makes outbox_owner the owner of the schema and of everything in it, and so lets it migrate, attach, adopt
-- and replay. Creates the schema if it does not exist. Run it after roles.sql, as a superuser or as the present owner,
-- who becomes a member of outbox_owner. The tables are locked until the commit.
DO $$
DECLARE
    item record;
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    IF to_regnamespace('outbox') IS NULL OR EXISTS (
            SELECT FROM pg_namespace n LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relkind IN ('r', 'p', 'v')
                        LEFT JOIN pg_proc p ON p.pronamespace = n.oid
             WHERE n.oid = to_regnamespace('outbox') AND 'outbox_owner'::regrole <> ANY (ARRAY[n.nspowner, c.relowner, p.proowner])) THEN
        -- Changing an owner requires the right to act as the new one; since version 16 membership alone is not enough.
        IF NOT pg_has_role('outbox_owner'::regrole, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
            GRANT outbox_owner TO CURRENT_USER;
        END IF;
    END IF;
    IF to_regnamespace('outbox') IS NULL THEN
        CREATE SCHEMA outbox AUTHORIZATION outbox_owner;
    END IF;
    IF EXISTS (SELECT FROM pg_namespace WHERE oid = to_regnamespace('outbox') AND nspowner <> 'outbox_owner'::regrole) THEN
        ALTER SCHEMA outbox OWNER TO outbox_owner;
    END IF;
    -- Sequences, indexes and row types change with their tables.
    FOR item IN SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, oid::regclass::text AS name
                  FROM pg_class WHERE relnamespace = to_regnamespace('outbox') AND relkind IN ('r', 'p', 'v') AND relowner <> 'outbox_owner'::regrole
                 UNION ALL
                SELECT 'FUNCTION', oid::regprocedure::text
                  FROM pg_proc WHERE pronamespace = to_regnamespace('outbox') AND proowner <> 'outbox_owner'::regrole LOOP
        EXECUTE format('ALTER %s %s OWNER TO outbox_owner', item.kind, item.name);
    END LOOP;
END $$;
