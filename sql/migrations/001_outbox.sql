-- Schema v1. Runs unmodified in psql (the schema must exist: CREATE SCHEMA outbox).
-- Every table is append-only: nothing here is ever updated or deleted row by row, so nothing bloats.

-- ---------------------------------------------------------------------------------------------
-- Grammar at the door. Bad input is an error in the writer's own transaction.

-- True for a subject of literal tokens: no wildcard, no empty token, no space or control character (of
-- ASCII, in every locale), at most 1024 bytes, and not one of the names that NATS or the relay keep for themselves
-- (a publish to $JS.API.> would be a command to the server, not an event).
CREATE FUNCTION outbox.is_subject(subject text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN subject COLLATE "C" ~ '^[^\x01-\x20\x7f.*>]+(\.[^\x01-\x20\x7f.*>]+)*$'
       AND subject !~ '^(\$|_INBOX|_OUTBOX\.)'
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
               || @.value like_regex "[\\x01-\\x1f\\x7f]|^ | $")');

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
                             CHECK (key COLLATE "C" !~ '[\x01-\x1f\x7f]|^ | $' AND octet_length(key) BETWEEN 1 AND 1024),
    payload      bytea       NOT NULL DEFAULT '' CONSTRAINT payload_at_most_960_kib CHECK (octet_length(payload) <= 983040),
    content_type text        NOT NULL DEFAULT 'application/json' CONSTRAINT content_type_is_a_header_value
                             CHECK (content_type COLLATE "C" !~ '[\x01-\x1f\x7f]|^ | $' AND octet_length(content_type) BETWEEN 1 AND 255),
    headers      jsonb       CONSTRAINT headers_are_strings_and_not_reserved CHECK (outbox.is_headers(headers)),
    resend_of    uuid,       -- event_id of the original, for an event that was replayed
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Serves the late half of queries/plan.sql: the rows of one transaction, in id order.
CREATE INDEX event_xid_id ON outbox.event (xid, id);
-- Look-ups of a person: one event, one key, one hour. Block ranges with Bloom filters cost a writer next to nothing. The filter has
-- a fixed size, 2.5 kB: one sized by the rows of a range may be larger than a page, and then the insert fails.
CREATE INDEX event_by_event_id ON outbox.event USING brin (event_id uuid_bloom_ops (n_distinct_per_range = 2048)) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX event_by_key ON outbox.event USING brin (key text_bloom_ops (n_distinct_per_range = 2048), created_at) WITH (pages_per_range = 16, autosummarize = on);

-- The copies of an event. Partial: it costs nothing where there are none.
CREATE INDEX event_by_resend_of ON outbox.event (resend_of) WHERE resend_of IS NOT NULL;

-- A net: an id beyond the last partition must not fail the writer's transaction.
CREATE TABLE outbox.event_default PARTITION OF outbox.event DEFAULT;

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
    again             boolean        NOT NULL DEFAULT false, -- its events have an earlier position too: see queries/replan.sql
    relay             text           NOT NULL DEFAULT '',
    planned_at        timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CHECK (last_position >= first_position - 1)
) PARTITION BY RANGE (first_position);
CREATE INDEX batch_ids ON outbox.batch USING gist (ids); -- outbox.trail: the batch of one id
CREATE TABLE outbox.batch_default PARTITION OF outbox.batch DEFAULT;

-- Which clusters of PostgreSQL the outbox has lived in, a log. xids mean nothing in another one: a copy in another cluster must
-- not publish what the original publishes, until somebody says that it takes over (queries/adopt.sql). From then on
-- nothing up to id settled is ever late, whatever its xid says. A new timeline is a fail-over, and is noted.
CREATE TABLE outbox.cluster (
    n                 integer     PRIMARY KEY,
    system_identifier bigint      NOT NULL,
    timeline          integer     NOT NULL,
    settled           bigint      NOT NULL,
    reason            text        NOT NULL, -- first, fail-over, adopted
    relay             text        NOT NULL DEFAULT '',
    noted_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Where positions lie in a stream: sequence = position + base. A log: for position p the last row with
-- from_position <= p holds. A stream that was deleted and made again is another stream (stream_created), a
-- foreign message moves the base. n is one more than the row before it, so that only one relay appends it.
CREATE TABLE outbox.base (
    n              bigint      PRIMARY KEY,
    stream         text        NOT NULL,
    stream_created timestamptz NOT NULL,
    from_position  bigint      NOT NULL,
    base           bigint      NOT NULL,
    reason         text        NOT NULL,
    relay          text        NOT NULL DEFAULT '',
    set_at         timestamptz NOT NULL DEFAULT clock_timestamp()
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
) PARTITION BY RANGE (id);
CREATE INDEX receipt_position ON outbox.receipt (position);
CREATE TABLE outbox.receipt_default PARTITION OF outbox.receipt DEFAULT;

-- Positions at which an event is not published, with the reason. A marker message stands in its place in the stream,
-- so that positions and sequences do not shift. What can never be published waits for a person; what was displaced by a
-- foreign message has a later position as well.
CREATE TABLE outbox.parked (
    position  bigint      PRIMARY KEY,
    id        bigint      NOT NULL,
    event_id  uuid        NOT NULL,
    subject   text        NOT NULL,
    reason    text        NOT NULL, -- one word a script can switch on: too_large, no_stream, bad_header, displaced, …
    detail    text        NOT NULL DEFAULT '',
    relay     text        NOT NULL DEFAULT '',
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a person decided about events that were set aside: parked ones by position (source 'parked'), dead letters by sequence
-- (source is the dead-letter stream and when it was made). Written in the transaction of the copy, so that no
-- interruption replays twice.
CREATE TABLE outbox.decision (
    source     text        NOT NULL,
    number     bigint      NOT NULL,
    action     text        NOT NULL CHECK (action IN ('replayed', 'dropped', 'accepted')),
    copy       uuid,                 -- event_id of the copy, when it was replayed
    decided_by text        NOT NULL DEFAULT session_user,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, number)
);

-- ---------------------------------------------------------------------------------------------
-- Partitions: event by id, batch by first_position, receipt by id, each with a default one as a net. Made ahead by extend, dropped by
-- 003_operate.sql.

-- Which were made, a log.
CREATE TABLE outbox.partition (
    family   text        NOT NULL CHECK (family IN ('event', 'batch', 'receipt')),
    from_key bigint      NOT NULL,
    to_key   bigint      NOT NULL, -- exclusive
    name     text        NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (family, from_key)
);

-- What was dropped, a log.
CREATE TABLE outbox.dropped (
    family     text        NOT NULL,
    from_key   bigint      NOT NULL,
    to_key     bigint      NOT NULL,
    n          bigint      NOT NULL, -- rows
    bytes      bigint      NOT NULL, -- indexes included
    oldest     timestamptz,          -- of the rows: created_at, planned_at, acked_at
    newest     timestamptz,
    dropped_by text        NOT NULL DEFAULT session_user,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (family, from_key)
);

-- extend makes partitions until at least ahead of them lie beyond the highest number in use, in each family, and says how many
-- it made, 64 of each at most. Without a size a dozen of them span the time that events are kept, at the rate of those that are there;
-- one is twice or half as large as the one being filled at most, and never below 262144, so that one large transaction fits in what
-- lies ahead. LIKE and ATTACH take
-- no lock that a writer's transaction conflicts with, unless it has written to the net. The net itself is locked until the commit,
-- against readers too: so the relay asks for one partition of one family at a time, which no other lock can cross. What
-- cannot be locked within 50 ms is an error, and can be asked for again.
-- SECURITY DEFINER, so that the relay needs not own the outbox; hence the bounds and the search_path.
CREATE FUNCTION outbox.extend(size bigint DEFAULT NULL, ahead integer DEFAULT 4, keep interval DEFAULT '7 days',
                              of_family text DEFAULT NULL, most integer DEFAULT 64) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    kind   text; -- the family
    column_ text;
    top    bigint;
    used   bigint;
    last   bigint; -- size of the one that is being filled
    step   bigint; -- size of the next ones
    need   bigint; -- numbers ahead
    leaf   text;
    made   integer := 0;
    n      integer;
BEGIN
    IF (size IS NULL OR size BETWEEN 1000 AND 4294967296) IS NOT TRUE OR (ahead BETWEEN 1 AND 64) IS NOT TRUE OR (keep >= interval '1 s') IS NOT TRUE OR (most BETWEEN 1 AND 64) IS NOT TRUE THEN
        RAISE EXCEPTION 'size %, ahead %, keep %, most %: want 1000 to 4294967296 numbers or NULL, 1 to 64 partitions, a second or more, 1 to 64 partitions', size, ahead, keep, most
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    FOREACH kind IN ARRAY '{event,batch,receipt}'::text[] LOOP
        CONTINUE WHEN kind <> of_family;
        column_ := CASE kind WHEN 'batch' THEN 'first_position' ELSE 'id' END;
        EXECUTE format('SELECT coalesce(max(%I), 0) FROM outbox.%I', column_, kind) INTO used;
        SELECT coalesce(max(p.to_key), CASE kind WHEN 'batch' THEN 0 ELSE 1 END) INTO top FROM outbox.partition AS p WHERE p.family = kind;
        SELECT p.to_key - p.from_key INTO last FROM outbox.partition AS p WHERE p.family = kind AND (p.to_key > used OR p.to_key = top) ORDER BY p.from_key LIMIT 1;
        SELECT (used - p.from_key) / greatest(extract(epoch FROM clock_timestamp() - p.made_at) * 12 / extract(epoch FROM keep), 1)
          INTO step FROM outbox.partition AS p LEFT JOIN outbox.dropped AS d USING (family, from_key)
         WHERE p.family = kind AND d.family IS NULL ORDER BY p.from_key LIMIT 1;
        step := coalesce(size, CASE WHEN last > 0 THEN least(greatest(step, last / 2, 262144), last * 2, 4294967296) END, 1048576);
        need := ahead * coalesce(size, last, step);
        -- A range that has rows in the net already cannot be attached: after a jump of numbers, go on well behind them.
        EXECUTE format('SELECT greatest($1, (max(%I) / 10000 + 2) * 10000 + 1) FROM outbox.%I', column_, kind || '_default') INTO top USING top;
        n := 0;
        WHILE top - 1 < used + need AND n < most LOOP
            leaf := kind || '_' || top;
            EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)', leaf, kind);
            EXECUTE format('ALTER TABLE outbox.%I ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', kind, leaf, top, top + step);
            INSERT INTO outbox.partition (family, from_key, to_key, name) VALUES (kind, top, top + step, leaf);
            top := top + step;
            n := n + 1;
        END LOOP;
        made := made + n;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION outbox.extend(bigint, integer, interval, text, integer) FROM PUBLIC;

SELECT outbox.extend();

INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot)
VALUES (0, 0, '{}', 0, pg_current_snapshot());

-- ---------------------------------------------------------------------------------------------
-- The table is the audit: every event with its state.
CREATE VIEW outbox.trail AS
SELECT e.id, e.event_id, e.subject, e.key, e.created_at,
       CASE WHEN p.reason = 'displaced' THEN 'published' -- elsewhere: see queries/keep.sql
            WHEN p.position IS NOT NULL THEN coalesce(d.action, 'parked')
            WHEN r.position IS NOT NULL THEN 'published'
            ELSE 'pending' END AS state,
       b.position, b.planned_at,
       CASE WHEN r.position IS NOT NULL THEN s.stream END AS stream,
       CASE WHEN r.position IS NOT NULL AND p.reason IS DISTINCT FROM 'displaced' THEN b.position + s.base END AS sequence,
       r.acked_at AS published_at, -- at the latest: receipts are coalesced
       p.reason, p.detail, p.parked_at, e.resend_of, e.xid
  FROM outbox.event e
  LEFT JOIN LATERAL (
       SELECT b.planned_at, b.first_position - 1 + (
                  SELECT sum(least(upper(r), e.id + 1) - lower(r)) FROM unnest(b.ids) r WHERE lower(r) <= e.id
              )::bigint AS position
         FROM outbox.batch b
        -- The last one counts: see replan.sql. The sum keeps the planner from going through the primary key in search of it.
        WHERE b.first_position = (SELECT max(w.first_position + 0) FROM outbox.batch w WHERE w.ids @> e.id)) b ON true
  LEFT JOIN outbox.parked p ON p.position = b.position
  LEFT JOIN outbox.decision d ON d.source = 'parked' AND d.number = p.position
  LEFT JOIN LATERAL (
       SELECT r.position, r.stream, r.stream_created, r.acked_at
         FROM outbox.receipt r WHERE r.position >= b.position ORDER BY r.position, r.id LIMIT 1) r ON true
  LEFT JOIN LATERAL (
       SELECT s.stream, s.base FROM outbox.base s
        WHERE s.stream = r.stream AND s.stream_created = r.stream_created AND s.from_position <= b.position
        ORDER BY s.n DESC LIMIT 1) s ON true;

-- The trail of one event with its copies, of one key, and of one hour. The planner takes a Bloom filter over random values for useless and reads
-- the whole table; in these functions it may not. OFFSET 0 has the trail looked up once for each id that was found: joined freely, it
-- expects a million times too many rows and makes the trail of the whole table, to merge it (7 s for 1000 rows of a million; 0.2 s so).
CREATE FUNCTION outbox.trail_of_event(event_id uuid) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT t.* FROM outbox.trail AS t WHERE t.event_id = trail_of_event.event_id
    UNION ALL
    SELECT t.* FROM outbox.trail AS t WHERE t.resend_of = trail_of_event.event_id
$$;

-- The last n of them since a time, newest first. The ids are found first: ordered by id, the planner would go backward through all of the table.
CREATE FUNCTION outbox.trail_of_key(key text, since timestamptz DEFAULT '-infinity', n integer DEFAULT 100) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH w AS MATERIALIZED (SELECT e.id FROM outbox.event AS e WHERE e.key = trail_of_key.key AND e.created_at >= since)
    SELECT t.* FROM (SELECT id FROM w ORDER BY id DESC LIMIT n) AS l CROSS JOIN LATERAL (SELECT * FROM outbox.trail WHERE id = l.id OFFSET 0) AS t
     ORDER BY t.id DESC
$$;

-- The first n of those that were inserted in a time, oldest first: an hour, not a year. Until is not part of it.
CREATE FUNCTION outbox.trail_of_time(since timestamptz, until timestamptz, n integer DEFAULT 1000) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH w AS MATERIALIZED (SELECT e.id FROM outbox.event AS e WHERE e.created_at >= since AND e.created_at < until)
    SELECT t.* FROM (SELECT id FROM w ORDER BY id LIMIT n) AS l CROSS JOIN LATERAL (SELECT * FROM outbox.trail WHERE id = l.id OFFSET 0) AS t
     ORDER BY t.id
$$;
REVOKE ALL ON FUNCTION outbox.trail_of_event(uuid), outbox.trail_of_key(text, timestamptz, integer), outbox.trail_of_time(timestamptz, timestamptz, integer) FROM PUBLIC;
