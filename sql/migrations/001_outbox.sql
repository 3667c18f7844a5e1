-- 001_outbox: the tables of an outbox, and the functions that writers, relays and searches need.
-- Runs unmodified in psql; the schema must exist (CREATE SCHEMA outbox).
-- All tables but outbox.attached are append-only: no row is updated or deleted, so no table bloats.

-- ---------------------------------------------------------------------------------------------
-- Grammar at the door. Invalid input is an error in the writer's own transaction.

-- is_subject returns true for a subject of literal tokens: no wildcard, no empty token, no space or control character
-- (of ASCII, in every locale), at most 1024 bytes. It rejects the names that NATS and the relay reserve: a publish to
-- $JS.API.> would be a command to the server instead of an event.
CREATE FUNCTION outbox.is_subject(subject text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN subject COLLATE "C" ~ '^[^\x01-\x20\x7f.*>]+(\.[^\x01-\x20\x7f.*>]+)*$'
       AND subject !~ '^(\$|_INBOX|_OUTBOX\.)'
       AND octet_length(subject) <= 1024;

-- is_headers returns true for an object of strings, at most 16384 bytes as text, whose names are header tokens and not
-- reserved. Nats-* belongs to the server (Nats-Rollup would purge the stream), Outbox-* to the relay, and Content-Type
-- has its own column. Outbox-Op is allowed: capture triggers write the operation there.
CREATE FUNCTION outbox.is_headers(headers jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN jsonb_typeof(headers) = 'object'
       AND octet_length(headers::text) <= 16384
       AND NOT jsonb_path_exists(headers, '$.keyvalue() ? (@.value.type() != "string"
               || !(@.key like_regex "^[A-Za-z0-9_-]+$")
               || (@.key like_regex "^(nats|outbox)-" flag "i" && @.key != "Outbox-Op")
               || @.key like_regex "^content-type$" flag "i"
               || @.value like_regex "[\\x01-\\x1f\\x7f]|^ | $")');

-- token encodes any text as one subject token. Characters other than A-Z a-z 0-9 _ - become %XX for each of their UTF-8
-- bytes, the empty string becomes %, NULL becomes %N. Different values have different tokens.
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
-- Events.
--
-- xid must come before id: PostgreSQL evaluates column defaults in column order, so a transaction owns its xid before
-- it draws an id. The cursor of queries/plan.sql relies on this order and on CACHE 1; outbox doctor checks both.
CREATE TABLE outbox.event (
    xid          xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id           bigint      NOT NULL GENERATED ALWAYS AS IDENTITY (CACHE 1),
    event_id     uuid        NOT NULL DEFAULT gen_random_uuid(), -- deduplication id: random, since ids and xids can recur after a fail-over
    subject      text        NOT NULL CONSTRAINT subject_is_literal_tokens CHECK (outbox.is_subject(subject)),
    key          text        CONSTRAINT key_is_a_header_value
                             CHECK (key COLLATE "C" !~ '[\x01-\x1f\x7f]|^ | $' AND octet_length(key) BETWEEN 1 AND 1024),
    payload      bytea       NOT NULL DEFAULT '' CONSTRAINT payload_at_most_960_kib CHECK (octet_length(payload) <= 983040),
    content_type text        NOT NULL DEFAULT 'application/json' CONSTRAINT content_type_is_a_header_value
                             CHECK (content_type COLLATE "C" !~ '[\x01-\x1f\x7f]|^ | $' AND octet_length(content_type) BETWEEN 1 AND 255),
    headers      jsonb       CONSTRAINT headers_are_strings_and_not_reserved CHECK (outbox.is_headers(headers)),
    resend_of    uuid,       -- event_id of the original, if this event is a copy
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (id)
) PARTITION BY RANGE (id);

-- Serves the late half of queries/plan.sql: the rows of one transaction, in id order.
CREATE INDEX event_xid_id ON outbox.event (xid, id);
-- Searches by a person: one event, one key, one hour. BRIN indexes with Bloom filters cost a writer almost nothing. The
-- filter has a fixed size of 2.5 kB: a filter sized by the rows of its range can exceed a page, and then the insert
-- fails.
CREATE INDEX event_by_event_id ON outbox.event USING brin (event_id uuid_bloom_ops (n_distinct_per_range = 2048)) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX event_by_key ON outbox.event USING brin (key text_bloom_ops (n_distinct_per_range = 2048), created_at) WITH (pages_per_range = 16, autosummarize = on);
-- The copies of an event. The index is partial, so it costs nothing where there are no copies.
CREATE INDEX event_by_resend_of ON outbox.event (resend_of) WHERE resend_of IS NOT NULL;

-- An id beyond the last partition must not make the writer's transaction fail.
CREATE TABLE outbox.event_default PARTITION OF outbox.event DEFAULT;

-- ---------------------------------------------------------------------------------------------
-- Insert from any language.
--
-- enqueue inserts one event and returns its event_id. An untyped literal or parameter resolves to the text form. The
-- text form checks that application/json is JSON, and publishes the bytes unchanged. BEGIN ATOMIC resolves every name
-- when the function is created, so the search_path of the writer has no influence.
CREATE FUNCTION outbox.enqueue(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/octet-stream', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql BEGIN ATOMIC
    INSERT INTO outbox.event (event_id, subject, key, payload, content_type, headers)
    VALUES (enqueue.event_id, enqueue.subject, enqueue.key, enqueue.payload, enqueue.content_type, enqueue.headers);
    SELECT enqueue.event_id; -- RETURNING would require SELECT on the table
END;

CREATE FUNCTION outbox.enqueue(subject text, payload text, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/json', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql BEGIN ATOMIC
    SELECT outbox.enqueue(enqueue.subject,
        convert_to(CASE WHEN enqueue.content_type = 'application/json' THEN enqueue.payload::json::text ELSE enqueue.payload END, 'UTF8'),
        enqueue.key, enqueue.headers, enqueue.content_type, enqueue.event_id);
END;

CREATE FUNCTION outbox.enqueue(subject text, payload jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/json', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql BEGIN ATOMIC
    SELECT outbox.enqueue(enqueue.subject, convert_to(enqueue.payload::text, 'UTF8'),
        enqueue.key, enqueue.headers, enqueue.content_type, enqueue.event_id);
END;

-- ---------------------------------------------------------------------------------------------
-- Wake.
--
-- NOTIFY takes one global lock at commit, so writers send it only while the relay sleeps. The relay sleeps only while
-- it holds this advisory lock exclusively. A writer that gets the lock shared therefore knows that the relay is awake,
-- and that it cannot fall asleep before the writer's transaction ends. The test is in the WHEN clause, which keeps
-- plpgsql out of the common path. PREPARE TRANSACTION rejects a transaction that called NOTIFY: a transaction that will
-- be prepared must SET LOCAL outbox.wake = off, and the relay finds its events with the next poll.
CREATE FUNCTION outbox.wake() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- The setting has this name in every schema: the concatenation hides it from the substitution of the schema name.
    IF current_setting('outbox' || '.wake', true) IS DISTINCT FROM 'off' THEN
        PERFORM pg_notify('outbox.wake', '');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox.wake() FROM PUBLIC; -- an existing trigger fires for every role

CREATE TRIGGER wake AFTER INSERT ON outbox.event FOR EACH STATEMENT
    WHEN (NOT pg_try_advisory_xact_lock_shared(hashtextextended('outbox.wake', 0)))
    EXECUTE FUNCTION outbox.wake();

-- ---------------------------------------------------------------------------------------------
-- The plan: which events are next, decided once, before anything is published.
--
-- A position is a gapless number that never changes. The last row is the cursor: every row up to id head that its
-- snapshot could see has a position. The primary key lets only one planner append the next batch.
CREATE TABLE outbox.batch (
    first_position    bigint         PRIMARY KEY,
    last_position     bigint         NOT NULL,
    ids               int8multirange NOT NULL, -- in id order they have the positions from first_position through last_position
    head              bigint         NOT NULL,
    snapshot          pg_snapshot    NOT NULL,
    xid               xid8           NOT NULL DEFAULT pg_current_xact_id(),
    -- Set while the late rows of one scan are planned page by page (see queries/plan.sql):
    late_from         pg_snapshot,             -- the set is what snapshot sees and late_from does not, up to id head
    late_until        xid8,                    -- of the transactions above late_from, only earlier ones than this can be in the set
    late_after        bigint,                  -- the set is planned up to this id
    resend            boolean        NOT NULL DEFAULT false, -- its events have an earlier position too: see queries/replan.sql
    relay             text           NOT NULL DEFAULT '',
    planned_at        timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CHECK (last_position >= first_position - 1)
) PARTITION BY RANGE (first_position);
CREATE INDEX batch_ids ON outbox.batch USING gist (ids); -- outbox.trail: the batch of one id
CREATE TABLE outbox.batch_default PARTITION OF outbox.batch DEFAULT;

-- A log of the PostgreSQL clusters that the outbox has lived in. xids mean nothing in another cluster, and a copy must
-- not publish what the original publishes: no relay publishes from a copy until an operator adopts it
-- (queries/adopt.sql). After that no row up to id settled is ever late, whatever its xid. A new timeline, which is a
-- fail-over, is recorded too.
CREATE TABLE outbox.cluster (
    n                 integer     PRIMARY KEY,
    system_identifier bigint      NOT NULL,
    timeline          integer     NOT NULL,
    settled           bigint      NOT NULL,
    reason            text        NOT NULL, -- first, fail-over, adopted
    relay             text        NOT NULL DEFAULT '',
    recorded_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A log of where positions are in a stream: sequence = position + base. For position p the last row with
-- from_position <= p applies. A stream that was deleted and created again is another stream (stream_created); a foreign
-- message moves the base. n is one more than in the row before, so that only one relay can append that row.
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

-- ---------------------------------------------------------------------------------------------
-- Evidence: the stream acknowledged everything up to position, and stored that last event at sequence.
--
-- A relay coalesces acks: by default it writes at most one row per second. On a stream whose messages are chained, it
-- never uses this table to decide what to publish.
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

-- ---------------------------------------------------------------------------------------------
-- Parked events, and decisions about them.

-- Positions whose event is not published there, with the reason. The relay publishes a marker message at the position
-- instead, so that later positions keep their sequences. An event that can never be published waits for a person. A
-- displaced event has a later position as well, because a foreign message has taken this one.
CREATE TABLE outbox.parked (
    position  bigint      PRIMARY KEY,
    id        bigint      NOT NULL,
    event_id  uuid        NOT NULL,
    subject   text        NOT NULL,
    reason    text        NOT NULL, -- one word that scripts can test: too_large, no_stream, bad_header, displaced and others
    detail    text        NOT NULL DEFAULT '',
    relay     text        NOT NULL DEFAULT '',
    parked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a person decided. source and number name what the decision is about:
--   parked                       number is the position of a parked event
--   a stream and its creation    number is the sequence of a dead letter, or of a message that an audit reported
-- A replay writes its row in the transaction that inserts the copy, so that no interruption replays an event twice.
CREATE TABLE outbox.decision (
    source     text        NOT NULL,
    number     bigint      NOT NULL,
    action     text        NOT NULL CHECK (action IN ('replayed', 'dropped', 'accepted')),
    copy       uuid,                 -- event_id of the copy, if the event was replayed
    decided_by text        NOT NULL DEFAULT session_user,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, number)
);
CREATE INDEX decision_copy ON outbox.decision (copy) WHERE copy IS NOT NULL; -- replaces_parked: the decision that made a copy

-- replaces_parked returns true for a copy that a person made of a parked original, directly or through copies that were
-- parked in turn. Nothing else was published of that original, so a replay must include this copy; it leaves out every
-- other copy.
CREATE FUNCTION outbox.replaces_parked(copy uuid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE back AS (
        SELECT replaces_parked.copy AS event_id, false AS original
         UNION ALL
        SELECT p.event_id, e.resend_of IS NULL
          FROM back JOIN outbox.decision AS d ON d.copy = back.event_id AND d.source = 'parked'
          JOIN outbox.parked AS p ON p.position = d.number
          LEFT JOIN outbox.event AS e ON e.id = p.id
    )
    SELECT EXISTS (SELECT FROM back WHERE original)
$$;
REVOKE ALL ON FUNCTION outbox.replaces_parked(uuid) FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Partitions of event (by id), batch (by first_position) and receipt (by id). The default partition of each holds
-- numbers that no other partition covers. 003_operate.sql drops partitions.

-- A log of the partitions that were created.
CREATE TABLE outbox.partition (
    family   text        NOT NULL CHECK (family IN ('event', 'batch', 'receipt')),
    from_key bigint      NOT NULL,
    to_key   bigint      NOT NULL, -- exclusive
    name     text        NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (family, from_key)
);

-- A log of the partitions that were dropped.
CREATE TABLE outbox.dropped (
    family     text        NOT NULL,
    from_key   bigint      NOT NULL,
    to_key     bigint      NOT NULL,
    n          bigint      NOT NULL, -- rows
    bytes      bigint      NOT NULL, -- including indexes
    oldest     timestamptz,          -- of the rows: created_at, planned_at or acked_at
    newest     timestamptz,
    dropped_by text        NOT NULL DEFAULT session_user,
    dropped_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (family, from_key)
);

-- extend creates partitions until those beyond the highest number in use hold as many numbers as ahead partitions, in
-- each family or in of_family alone. It returns how many it created, at most max_new per family. Without a size, it
-- chooses one so that twelve partitions hold what is inserted in 'keep', at the rate of the oldest partition that is
-- left: at least half and at most twice the size of the partition being filled, and within that at least 262144
-- numbers, so that one large transaction fits into the partitions ahead. CREATE TABLE LIKE and ATTACH PARTITION take no
-- lock that conflicts with a writer's transaction, unless that transaction wrote to the default partition. The default
-- partition stays locked until the commit, against readers too. The relay therefore asks for one partition of one
-- family per transaction, which cannot deadlock with another lock. If a lock is not available within 50 ms, extend
-- fails, and the caller may try again. SECURITY DEFINER, so that a relay need not own the outbox; hence the bounds on
-- the arguments and the search_path.
CREATE FUNCTION outbox.extend(size bigint DEFAULT NULL, ahead integer DEFAULT 4, keep interval DEFAULT '7 days',
                              of_family text DEFAULT NULL, max_new integer DEFAULT 64) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    kind    text; -- the family
    column_ text; -- the partition key
    top     bigint; -- the first number that no partition covers
    used    bigint; -- the highest number in use
    last    bigint; -- size of the partition being filled
    step    bigint; -- size of the next partitions
    need    bigint; -- numbers that must lie ahead of used
    leaf    text;
    created integer := 0;
    n       integer;
BEGIN
    IF (size IS NULL OR size BETWEEN 1000 AND 4294967296) IS NOT TRUE OR (ahead BETWEEN 1 AND 64) IS NOT TRUE OR (keep >= interval '1 s') IS NOT TRUE OR (max_new BETWEEN 1 AND 64) IS NOT TRUE THEN
        RAISE EXCEPTION 'invalid argument: want size from 1000 to 4294967296 or NULL, ahead from 1 to 64, keep of at least 1 second, max_new from 1 to 64; got size %, ahead %, keep %, max_new %', size, ahead, keep, max_new
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    FOREACH kind IN ARRAY '{event,batch,receipt}'::text[] LOOP
        CONTINUE WHEN kind <> of_family;
        column_ := CASE kind WHEN 'batch' THEN 'first_position' ELSE 'id' END;
        EXECUTE format('SELECT coalesce(max(%I), 0) FROM outbox.%I', column_, kind) INTO used;
        SELECT coalesce(max(p.to_key), CASE kind WHEN 'batch' THEN 0 ELSE 1 END) INTO top FROM outbox.partition AS p WHERE p.family = kind;
        SELECT p.to_key - p.from_key INTO last FROM outbox.partition AS p WHERE p.family = kind AND (p.to_key > used OR p.to_key = top) ORDER BY p.from_key LIMIT 1;
        SELECT (used - p.from_key) / greatest(extract(epoch FROM clock_timestamp() - p.created_at) * 12 / extract(epoch FROM keep), 1)
          INTO step FROM outbox.partition AS p LEFT JOIN outbox.dropped AS d USING (family, from_key)
         WHERE p.family = kind AND d.family IS NULL ORDER BY p.from_key LIMIT 1;
        step := coalesce(size, CASE WHEN last > 0 THEN least(greatest(step, last / 2, 262144), last * 2, 4294967296) END, 1048576);
        need := ahead * coalesce(size, last, step);
        -- A range with rows in the default partition cannot be attached: after a jump of numbers, start well above
        -- them.
        EXECUTE format('SELECT greatest($1, (max(%I) / 10000 + 2) * 10000 + 1) FROM outbox.%I', column_, kind || '_default') INTO top USING top;
        n := 0;
        WHILE top - 1 < used + need AND n < max_new LOOP
            leaf := kind || '_' || top;
            EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)', leaf, kind);
            EXECUTE format('ALTER TABLE outbox.%I ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', kind, leaf, top, top + step);
            INSERT INTO outbox.partition (family, from_key, to_key, name) VALUES (kind, top, top + step, leaf);
            top := top + step;
            n := n + 1;
        END LOOP;
        created := created + n;
    END LOOP;
    RETURN created;
END $$;
REVOKE ALL ON FUNCTION outbox.extend(bigint, integer, interval, text, integer) FROM PUBLIC;

SELECT outbox.extend();

-- The first cursor.
INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot)
VALUES (0, 0, '{}', 0, pg_current_snapshot());

-- ---------------------------------------------------------------------------------------------
-- The trail: every event with its state.
CREATE VIEW outbox.trail AS
SELECT e.id, e.event_id, e.subject, e.key, e.created_at,
       CASE WHEN p.reason = 'displaced' THEN 'published' -- at another position: see queries/mark_displaced.sql
            WHEN p.position IS NOT NULL THEN coalesce(d.action, 'parked')
            WHEN r.position IS NOT NULL THEN 'published'
            ELSE 'pending' END AS state,
       b.position, b.planned_at,
       CASE WHEN r.position IS NOT NULL THEN s.stream END AS stream,
       CASE WHEN r.position IS NOT NULL AND p.reason IS DISTINCT FROM 'displaced' THEN b.position + s.base END AS sequence,
       r.acked_at AS published_at, -- an upper bound: one receipt covers many events
       p.reason, p.detail, p.parked_at, e.resend_of, e.xid
  FROM outbox.event e
  LEFT JOIN LATERAL (
       SELECT b.planned_at, b.first_position - 1 + (
                  SELECT sum(least(upper(r), e.id + 1) - lower(r)) FROM unnest(b.ids) r WHERE lower(r) <= e.id
              )::bigint AS position
         FROM outbox.batch b
        -- The last batch of an id counts (see queries/replan.sql). The + 0 keeps the planner from searching it through
        -- the primary key.
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

-- The functions below search the trail of one event, of one key and of one period. The planner considers a Bloom filter
-- over random values useless and reads the whole table, so they forbid sequential scans. OFFSET 0 makes it compute the
-- trail once per id found. Without it, the planner expects a million times too many rows and computes the trail of the
-- whole table for a merge join: 7 s instead of 0.2 s for 1000 rows of a million.

-- trail_of_event returns one event and its copies.
CREATE FUNCTION outbox.trail_of_event(event_id uuid) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    SELECT t.* FROM outbox.trail AS t WHERE t.event_id = trail_of_event.event_id
    UNION ALL
    SELECT t.* FROM outbox.trail AS t WHERE t.resend_of = trail_of_event.event_id
$$;

-- trail_of_key returns the last n events of a key since a time, newest first. It finds the ids before it sorts them: to
-- serve ORDER BY id, the planner would read the table backward.
CREATE FUNCTION outbox.trail_of_key(key text, since timestamptz DEFAULT '-infinity', n integer DEFAULT 100) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH w AS MATERIALIZED (SELECT e.id FROM outbox.event AS e WHERE e.key = trail_of_key.key AND e.created_at >= since)
    SELECT t.* FROM (SELECT id FROM w ORDER BY id DESC LIMIT n) AS l CROSS JOIN LATERAL (SELECT * FROM outbox.trail WHERE id = l.id OFFSET 0) AS t
     ORDER BY t.id DESC
$$;

-- trail_of_time returns the first n events that were inserted from since until before until, oldest first. It is meant
-- for periods of about an hour.
CREATE FUNCTION outbox.trail_of_time(since timestamptz, until timestamptz, n integer DEFAULT 1000) RETURNS SETOF outbox.trail
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
    WITH w AS MATERIALIZED (SELECT e.id FROM outbox.event AS e WHERE e.created_at >= since AND e.created_at < until)
    SELECT t.* FROM (SELECT id FROM w ORDER BY id LIMIT n) AS l CROSS JOIN LATERAL (SELECT * FROM outbox.trail WHERE id = l.id OFFSET 0) AS t
     ORDER BY t.id
$$;
REVOKE ALL ON FUNCTION outbox.trail_of_event(uuid), outbox.trail_of_key(text, timestamptz, integer), outbox.trail_of_time(timestamptz, timestamptz, integer) FROM PUBLIC;
