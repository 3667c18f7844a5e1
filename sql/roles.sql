-- roles: four group roles, each with the least rights that its work requires. Runs unmodified in psql for the default
-- names, any number of times: before the migrations it only creates the roles, after them it grants the rights, and
-- revokes every right that is not listed here.
--   outbox_writer   inserts events: outbox.Insert, enqueue, COPY. Cannot read, nor choose id, xid or time
--   outbox_relay    outbox relay, status, doctor: reads everything, appends to the plan and its logs, creates and drops
--                   partitions. Cannot insert events
--   outbox_auditor  reads everything
--   outbox_owner    migrates, attaches, adopts, replays. It owns the schema (roles_own.sql); no right is granted to it
-- Each block pins the search_path: the role that runs it has many rights, so a name in public must not decide what it
-- does.

DO $$
DECLARE
    missing text;
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    FOREACH missing IN ARRAY '{outbox_writer,outbox_relay,outbox_auditor,outbox_owner}'::text[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = missing);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- another database created it meanwhile
        END;
    END LOOP;
END $$;

DO $$
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    IF to_regclass('outbox.cluster') IS NULL THEN
        RAISE NOTICE 'the schema has no tables yet; run outbox migrate up, then run this again';
        RETURN;
    END IF;

    -- PUBLIC as well, since writers have its rights too. Revoking rights on a table revokes those on its columns.
    REVOKE ALL ON SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL TABLES IN SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM outbox_writer, outbox_relay, outbox_auditor;
    GRANT USAGE ON SCHEMA outbox TO outbox_writer, outbox_relay, outbox_auditor;

    -- Inserting through the parent requires no right on its partitions, later ones included, nor on the identity's
    -- sequence. insert.sql sets resend_of; a forged one is no more than a false header.
    GRANT INSERT (event_id, subject, key, payload, content_type, headers, resend_of) ON outbox.event TO outbox_writer;
    -- CHECKs run with the rights of the writer. Default privileges may have revoked EXECUTE from PUBLIC, so grant it.
    GRANT EXECUTE ON FUNCTION outbox.is_subject(text), outbox.is_headers(jsonb), outbox.token(text),
        outbox.enqueue(text, bytea, text, jsonb, text, uuid), outbox.enqueue(text, text, text, jsonb, text, uuid),
        outbox.enqueue(text, jsonb, text, jsonb, text, uuid) TO outbox_writer;

    GRANT SELECT ON outbox.event, outbox.batch, outbox.base, outbox.receipt, outbox.parked, outbox.decision, outbox.cluster,
        outbox.attached, outbox.migration, outbox.trail, outbox.partition, outbox.dropped, outbox.job, outbox.step, outbox.pause
        TO outbox_relay, outbox_auditor;
    GRANT INSERT ON outbox.batch, outbox.base, outbox.receipt, outbox.parked, outbox.cluster TO outbox_relay;
    GRANT EXECUTE ON FUNCTION outbox.partitions(interval), outbox.trail_of_event(uuid), outbox.trail_of_key(text, timestamptz, integer),
        outbox.trail_of_time(timestamptz, timestamptz, integer), outbox.replaces_parked(uuid) TO outbox_relay, outbox_auditor;
    GRANT EXECUTE ON FUNCTION outbox.extend(bigint, integer, interval, text, integer), outbox.empty_partition(text, interval), outbox.drop_partition(text) TO outbox_relay;
END $$;
