-- Schema v1. Runs unmodified in psql (the schema must exist: CREATE SCHEMA outbox).
-- Every table is append-only: nothing here is ever updated or deleted row by row, so nothing bloats.

-- ---------------------------------------------------------------------------------------------
-- Grammar at the door. Bad input is an error in the writer's own transaction.

-- True for a subject of literal tokens: no wildcard, no empty token, no white space or control
-- character, at most 1024 bytes, and not one of the names that NATS or the relay keep for themselves
-- (a publish to $JS.API.> would be a command to the server, not an event).
CREATE FUNCTION outbox.is_subject(subject text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN subject ~ '^[^[:space:][:cntrl:].*>]+(\.[^[:space:][:cntrl:].*>]+)*$'
       AND subject !~ '^(\$|_INBOX\.|_OUTBOX\.)'
       AND octet_length(subject) <= 1024;

-- True for an object of strings whose names are header tokens and not reserved. Nats-* belongs to the
-- server (Nats-Rollup would purge the stream), Outbox-* to the relay, but for the operation of a capture.
CREATE FUNCTION outbox.is_headers(headers jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN jsonb_typeof(headers) = 'object'
       AND octet_length(headers::text) <= 16384
       AND NOT jsonb_path_exists(headers, '$.keyvalue() ? (@.value.type() != "string"
               || !(@.key like_regex "^[A-Za-z0-9_-]+$")
               || (@.key like_regex "^(nats|outbox)-" flag "i" && @.key != "Outbox-Op")
               || @.key like_regex "^content-type$" flag "i"
               || @.value like_regex "[[:cntrl:]]|^[[:space:]]|[[:space:]]$")');

-- One subject token out of any text: what is not A-Z a-z 0-9 _ - becomes %XX of its UTF-8 bytes,
-- the empty string becomes %, NULL becomes %N. No two values share a token.
CREATE FUNCTION outbox.token(value text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE
        WHEN value COLLATE "C" ~ '^[A-Za-z0-9_-]+$' THEN value
        WHEN value IS NULL THEN '%N'
        WHEN value = '' THEN '%'
        ELSE (SELECT string_agg(
                  CASE WHEN c COLLATE "C" ~ '[A-Za-z0-9_-]' THEN c
                       ELSE upper(regexp_replace(encode(convert_to(c, 'UTF8'), 'hex'), '(..)', '%\1', 'g')) END,
                  '' ORDER BY n)
              FROM regexp_split_to_table(value, '') WITH ORDINALITY AS s(c, n))
    END;

-- ---------------------------------------------------------------------------------------------
-- The outbox.
--
-- xid stands before id: column defaults are evaluated in column order, so a transaction owns its xid
-- before it draws an id. The cursor of queries/plan.sql relies on that and on CACHE 1.
CREATE TABLE outbox.event (
    xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    event_id     uuid        NOT NULL DEFAULT gen_random_uuid(), -- dedupe id; random, never derived from id or xid
    subject      text        NOT NULL CONSTRAINT subject_is_literal_tokens CHECK (outbox.is_subject(subject)),
    key          text        CONSTRAINT key_is_a_header_value
                             CHECK (key !~ '[[:cntrl:]]|^[[:space:]]|[[:space:]]$' AND octet_length(key) BETWEEN 1 AND 1024),
    payload      bytea       NOT NULL DEFAULT '' CONSTRAINT payload_at_most_960_kib CHECK (octet_length(payload) <= 983040),
    content_type text        NOT NULL DEFAULT 'application/json' CONSTRAINT content_type_is_a_header_value
                             CHECK (content_type !~ '[[:cntrl:]]|^[[:space:]]|[[:space:]]$' AND octet_length(content_type) BETWEEN 1 AND 255),
    headers      jsonb       CONSTRAINT headers_are_strings_and_not_reserved CHECK (outbox.is_headers(headers)),
    resend_of    uuid,       -- event_id of the original, for an event that was replayed
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Serves the late half of queries/plan.sql: the rows of one transaction, in id order.
CREATE INDEX event_xid_id ON outbox.event (xid, id);

-- A net: an id beyond the last partition must not fail the writer's transaction.
CREATE TABLE outbox.event_default PARTITION OF outbox.event DEFAULT;

-- extend makes partitions of size ids until at least ahead of them lie beyond the highest id in use, and
-- says how many it made. LIKE and ATTACH take no lock that a writer's transaction conflicts with.
CREATE FUNCTION outbox.extend(size bigint DEFAULT 4194304, ahead integer DEFAULT 2) RETURNS integer
    LANGUAGE plpgsql AS $$
DECLARE
    top  bigint;
    used bigint;
    name text;
    made integer := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    SELECT coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint), 1)
      INTO top
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'outbox.event'::regclass;
    SELECT coalesce(max(id), 0) INTO used FROM outbox.event;
    WHILE top - 1 < used + size * ahead LOOP
        name := 'event_' || top;
        EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)', name);
        EXECUTE format('ALTER TABLE outbox.event ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', name, top, top + size);
        top := top + size;
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;

SELECT outbox.extend();

-- ---------------------------------------------------------------------------------------------
-- The plan: which events are next, decided once, before anything is published.
--
-- A position is a gapless number that an event keeps for ever. The last row is the cursor: everything
-- up to id head that snapshot could see has a position. Its primary key lets only one planner win.
CREATE TABLE outbox.batch (
    first_position    bigint         PRIMARY KEY,
    last_position     bigint         NOT NULL,
    ids               int8multirange NOT NULL, -- in id order they have the positions first_position … last_position
    head              bigint         NOT NULL,
    snapshot          pg_snapshot    NOT NULL,
    xid               xid8           NOT NULL DEFAULT pg_current_xact_id(),
    -- Set while the late rows of one look are planned page by page (see queries/plan.sql):
    late_from         pg_snapshot,             -- the set is what snapshot sees and late_from does not, up to id head
    late_until        xid8,                    -- above late_from, only transactions before this one can be in the set
    late_after        bigint,                  -- the set is planned up to this id
    system_identifier bigint,                  -- of the cluster that planned: xids mean nothing in another one
    timeline          integer,
    relay             text           NOT NULL DEFAULT '',
    planned_at        timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CHECK (last_position >= first_position - 1)
);
CREATE INDEX batch_ids ON outbox.batch USING gist (ids); -- outbox.trail: the batch of one id

INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot)
VALUES (0, 0, '{}', 0, pg_current_snapshot());

-- Where positions lie in a stream: sequence = position + base, from from_position on. A stream that was
-- deleted and made again is another stream (stream_created), a foreign message moves the base.
CREATE TABLE outbox.base (
    stream         text        NOT NULL,
    stream_created timestamptz NOT NULL,
    from_position  bigint      NOT NULL,
    base           bigint      NOT NULL,
    reason         text        NOT NULL,
    relay          text        NOT NULL DEFAULT '',
    set_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, stream_created, from_position)
);

-- Evidence: everything up to position was acknowledged by the stream, the last of it at sequence.
-- Coalesced: one row at most every second. Never read to decide what to publish on a chained stream.
CREATE TABLE outbox.receipt (
    id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream         text        NOT NULL,
    stream_created timestamptz NOT NULL,
    position       bigint      NOT NULL,
    sequence       bigint      NOT NULL,
    acked_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    relay          text        NOT NULL DEFAULT ''
);
CREATE INDEX receipt_position ON outbox.receipt (position);

-- Events that can never be published, with the reason. A marker message stands at their position in the
-- stream, so that positions and sequences do not shift. A person decides what becomes of them.
CREATE TABLE outbox.parked (
    position  bigint      PRIMARY KEY,
    id        bigint      NOT NULL,
    event_id  uuid        NOT NULL,
    subject   text        NOT NULL,
    reason    text        NOT NULL, -- one word a script can switch on: too_large, no_stream, bad_header, …
    detail    text        NOT NULL DEFAULT '',
    relay     text        NOT NULL DEFAULT '',
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The table is the audit: every event with its state.
CREATE VIEW outbox.trail AS
SELECT e.id, e.event_id, e.subject, e.key, e.created_at,
       CASE WHEN p.position IS NOT NULL THEN 'parked'
            WHEN r.position IS NOT NULL THEN 'published'
            ELSE 'pending' END AS state,
       b.position, b.planned_at,
       CASE WHEN r.position IS NOT NULL THEN s.stream END AS stream,
       CASE WHEN r.position IS NOT NULL THEN b.position + s.base END AS sequence,
       r.acked_at AS published_at, -- at the latest: receipts are coalesced
       p.reason, p.detail, p.parked_at, e.resend_of, e.xid
  FROM outbox.event e
  LEFT JOIN LATERAL (
       SELECT b.planned_at, b.first_position - 1 + (
                  SELECT sum(least(upper(r), e.id + 1) - lower(r)) FROM unnest(b.ids) r WHERE lower(r) <= e.id
              )::bigint AS position
         FROM outbox.batch b WHERE b.ids @> e.id) b ON true
  LEFT JOIN outbox.parked p ON p.position = b.position
  LEFT JOIN LATERAL (
       SELECT r.position, r.stream, r.stream_created, r.acked_at
         FROM outbox.receipt r WHERE r.position >= b.position ORDER BY r.position, r.id LIMIT 1) r ON true
  LEFT JOIN LATERAL (
       SELECT s.stream, s.base FROM outbox.base s
        WHERE s.stream = r.stream AND s.stream_created = r.stream_created AND s.from_position <= b.position
        ORDER BY s.from_position DESC LIMIT 1) s ON true;

-- ---------------------------------------------------------------------------------------------
-- Wake: NOTIFY takes one global lock at commit, so it is sent only while the relay sleeps. The relay
-- sleeps only while it holds this lock exclusively: a writer that gets it shared knows that the relay is
-- awake, and that it cannot fall asleep before this transaction ends. The test stands in the WHEN clause
-- to keep plpgsql out of the common path. A transaction that will be prepared (PREPARE TRANSACTION refuses
-- NOTIFY) sets outbox.wake = off for itself and leaves the wake-up to the relay's poll.
CREATE FUNCTION outbox.wake() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('outbox.wake', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify('outbox.wake', '');
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER wake AFTER INSERT ON outbox.event FOR EACH STATEMENT
    WHEN (NOT pg_try_advisory_xact_lock_shared(hashtextextended('outbox.wake', 0)))
    EXECUTE FUNCTION outbox.wake();

-- ---------------------------------------------------------------------------------------------
-- Writing from every language. The text form is what an untyped literal or parameter resolves to; its
-- bytes are published as they are. All return the event's id.
CREATE FUNCTION outbox.enqueue(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/octet-stream', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql AS $$
    INSERT INTO outbox.event (event_id, subject, key, payload, content_type, headers)
    VALUES (enqueue.event_id, enqueue.subject, enqueue.key, enqueue.payload, enqueue.content_type, enqueue.headers)
    RETURNING event_id
$$;

CREATE FUNCTION outbox.enqueue(subject text, payload text, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/json', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql AS $$
    SELECT outbox.enqueue(enqueue.subject,
        convert_to(CASE WHEN enqueue.content_type = 'application/json' THEN enqueue.payload::json::text ELSE enqueue.payload END, 'UTF8'),
        enqueue.key, enqueue.headers, enqueue.content_type, enqueue.event_id)
$$;

CREATE FUNCTION outbox.enqueue(subject text, payload jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/json', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql AS $$
    SELECT outbox.enqueue(enqueue.subject, convert_to(enqueue.payload::text, 'UTF8'),
        enqueue.key, enqueue.headers, enqueue.content_type, enqueue.event_id)
$$;
