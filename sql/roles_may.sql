-- roles_may: what roles.sql would meet: as whom we are connected, which roles it has to make, whether we may, whether there are tables to
-- grant rights on, and whether we own them. Reads the catalogs alone, which needs no right.
SELECT current_user::text,
       coalesce((SELECT array_agg(name ORDER BY n)
                   FROM unnest('{outbox_writer,outbox_relay,outbox_auditor,outbox_owner}'::text[]) WITH ORDINALITY AS want(name, n)
                  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)), '{}')   AS missing,
       (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)      AS may_create,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('outbox') AND relname = 'cluster') AS migrated,
       coalesce((SELECT bool_and(pg_has_role(relowner, 'USAGE'))
                   FROM pg_class WHERE relnamespace = to_regnamespace('outbox')), true)   AS owns;
