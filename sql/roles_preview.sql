-- roles_preview: what roles.sql would find: the role of this connection, the roles to create, whether this role may create
-- them, whether there are tables to grant rights on, and whether this role owns them. Reads the catalogs only, which
-- requires no right.
SELECT current_user::text,
       coalesce((SELECT array_agg(name ORDER BY n)
                   FROM unnest('{outbox_writer,outbox_relay,outbox_auditor,outbox_owner}'::text[]) WITH ORDINALITY AS want(name, n)
                  WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)), '{}')   AS missing,
       (SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user)      AS may_create,
       EXISTS (SELECT FROM pg_class WHERE relnamespace = to_regnamespace('outbox') AND relname = 'cluster') AS migrated,
       coalesce((SELECT bool_and(pg_has_role(relowner, 'USAGE'))
                   FROM pg_class WHERE relnamespace = to_regnamespace('outbox')), true)   AS owns;
