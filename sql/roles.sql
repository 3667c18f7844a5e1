-- roles: four group roles, each with the least that its work needs. Runs unmodified in psql for the default names, any number of
-- times, before the migrations (then it only makes the roles) and after them. What the roles have beyond this list is taken away.
--   outbox_writer   appends events: outbox.Insert, enqueue, COPY. Reads nothing, chooses no id, no xid and no time
--   outbox_relay    outbox relay, status, doctor: reads all, appends to the plan and its logs, makes and drops partitions. Inserts no event
--   outbox_auditor  reads all
--   outbox_owner    migrates, attaches, adopts, replays: by owning the schema (roles_own.sql), no right is granted to it
-- Each block pins the search_path: whoever runs this may do much, and a name in public must not decide what it does.

DO $$
DECLARE
    missing text;
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    FOREACH missing IN ARRAY '{outbox_writer,outbox_relay,outbox_auditor,outbox_owner}'::text[] LOOP
        CONTINUE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = missing);
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; -- made from another database meanwhile
        END;
    END LOOP;
END $$;

DO $$
BEGIN
    PERFORM set_config('search_path', 'pg_catalog, pg_temp', true);
    IF to_regclass('outbox.cluster') IS NULL THEN
        RAISE NOTICE 'there are no tables yet: migrate, then run this again';
        RETURN;
    END IF;

    -- PUBLIC too: what everybody may, writers may. Rights on columns go with those on their table.
    REVOKE ALL ON SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL TABLES IN SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL SEQUENCES IN SCHEMA outbox FROM PUBLIC, outbox_writer, outbox_relay, outbox_auditor;
    REVOKE ALL ON ALL FUNCTIONS IN SCHEMA outbox FROM outbox_writer, outbox_relay, outbox_auditor;
    GRANT USAGE ON SCHEMA outbox TO outbox_writer, outbox_relay, outbox_auditor;

    -- Rows go through the parent, which asks for no right on a partition nor on the sequence of the identity: partitions that
    -- extend makes later need nothing. resend_of is in insert.sql; forged it is a claim in a header, no more.
    GRANT INSERT (event_id, subject, key, payload, content_type, headers, resend_of) ON outbox.event TO outbox_writer;
    -- CHECKs run as the writer. Where functions are not PUBLIC's by default, these have to be granted.
    GRANT EXECUTE ON FUNCTION outbox.is_subject(text), outbox.is_headers(jsonb), outbox.token(text),
        outbox.enqueue(text, bytea, text, jsonb, text, uuid), outbox.enqueue(text, text, text, jsonb, text, uuid),
        outbox.enqueue(text, jsonb, text, jsonb, text, uuid) TO outbox_writer;

    GRANT SELECT ON outbox.event, outbox.batch, outbox.base, outbox.receipt, outbox.parked, outbox.decision, outbox.cluster,
        outbox.attached, outbox.migration, outbox.trail, outbox.partition, outbox.dropped, outbox.job, outbox.step, outbox.pause
        TO outbox_relay, outbox_auditor;
    GRANT INSERT ON outbox.batch, outbox.base, outbox.receipt, outbox.parked, outbox.cluster TO outbox_relay;
    GRANT EXECUTE ON FUNCTION outbox.partitions(interval), outbox.trail_of_event(uuid), outbox.trail_of_key(text, timestamptz, integer),
        outbox.trail_of_time(timestamptz, timestamptz, integer), outbox.is_mended(uuid) TO outbox_relay, outbox_auditor;
    GRANT EXECUTE ON FUNCTION outbox.extend(bigint, integer, interval, text, integer), outbox.empty_partition(text, interval), outbox.drop_shell(text) TO outbox_relay;
END $$;
