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

-- A net: an id beyond the last partition must not fail the writer's transaction.
CREATE TABLE outbox.event_default PARTITION OF outbox.event DEFAULT;

-- extend makes partitions of size ids until at least ahead of them lie beyond the highest id in use, and
-- says how many it made, 64 at most. LIKE and ATTACH take no lock that a writer's transaction conflicts with.
-- SECURITY DEFINER, so that the relay needs not own the outbox; hence the bounds and the search_path.
CREATE FUNCTION outbox.extend(size bigint DEFAULT 4194304, ahead integer DEFAULT 2) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    top  bigint;
    used bigint;
    name text;
    made integer := 0;
BEGIN
    IF (size BETWEEN 1000 AND 4294967296 AND ahead BETWEEN 1 AND 64) IS NOT TRUE THEN
        RAISE EXCEPTION 'size % and ahead %: want 1000 to 4294967296 ids and 1 to 64 partitions', size, ahead USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    SELECT coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''(\d+)''\)'))[1]::bigint), 1)
      INTO top
      FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
     WHERE i.inhparent = 'outbox.event'::regclass;
    SELECT coalesce(max(id), 0) INTO used FROM outbox.event;
    -- A range that has rows in the net already cannot be attached: after a jump of ids, go on behind them.
    SELECT greatest(top, (max(id) / size + 1) * size + 1) INTO top FROM outbox.event_default;
    WHILE top - 1 < used + size * ahead AND made < 64 LOOP
        name := 'event_' || top;
        EXECUTE format('CREATE TABLE outbox.%I (LIKE outbox.event INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE)', name);
        EXECUTE format('ALTER TABLE outbox.event ATTACH PARTITION outbox.%I FOR VALUES FROM (%s) TO (%s)', name, top, top + size);
        top := top + size;
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
REVOKE ALL ON FUNCTION outbox.extend(bigint, integer) FROM PUBLIC;

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
    again             boolean        NOT NULL DEFAULT false, -- its events have an earlier position too: see queries/replan.sql
    relay             text           NOT NULL DEFAULT '',
    planned_at        timestamptz    NOT NULL DEFAULT clock_timestamp(),
    CHECK (last_position >= first_position - 1)
);
CREATE INDEX batch_ids ON outbox.batch USING gist (ids); -- outbox.trail: the batch of one id

INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot)
VALUES (0, 0, '{}', 0, pg_current_snapshot());

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
);
CREATE INDEX receipt_position ON outbox.receipt (position);

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
    action     text        NOT NULL CHECK (action IN ('replayed', 'dropped')),
    copy       uuid,                 -- event_id of the copy, when it was replayed
    decided_by text        NOT NULL DEFAULT session_user,
    decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, number)
);

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
         FROM outbox.batch b WHERE b.ids @> e.id ORDER BY b.first_position DESC LIMIT 1) b ON true -- the last one counts: see replan.sql
  LEFT JOIN outbox.parked p ON p.position = b.position
  LEFT JOIN outbox.decision d ON d.source = 'parked' AND d.number = p.position
  LEFT JOIN LATERAL (
       SELECT r.position, r.stream, r.stream_created, r.acked_at
         FROM outbox.receipt r WHERE r.position >= b.position ORDER BY r.position, r.id LIMIT 1) r ON true
  LEFT JOIN LATERAL (
       SELECT s.stream, s.base FROM outbox.base s
        WHERE s.stream = r.stream AND s.stream_created = r.stream_created AND s.from_position <= b.position
        ORDER BY s.n DESC LIMIT 1) s ON true;

-- ---------------------------------------------------------------------------------------------
-- Wake: NOTIFY takes one global lock at commit, so it is sent only while the relay sleeps. The relay
-- sleeps only while it holds this lock exclusively: a writer that gets it shared knows that the relay is
-- awake, and that it cannot fall asleep before this transaction ends. The test stands in the WHEN clause
-- to keep plpgsql out of the common path. A transaction that will be prepared (PREPARE TRANSACTION refuses
-- NOTIFY) sets outbox.wake = off for itself and leaves the wake-up to the relay's poll.
CREATE FUNCTION outbox.wake() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('outbox' || '.wake', true) IS DISTINCT FROM 'off' THEN -- one name, whatever the schema's is
        PERFORM pg_notify('outbox.wake', '');
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION outbox.wake() FROM PUBLIC; -- a trigger that exists fires for everybody

CREATE TRIGGER wake AFTER INSERT ON outbox.event FOR EACH STATEMENT
    WHEN (NOT pg_try_advisory_xact_lock_shared(hashtextextended('outbox.wake', 0)))
    EXECUTE FUNCTION outbox.wake();

-- ---------------------------------------------------------------------------------------------
-- Writing from every language. The text form is what an untyped literal or parameter resolves to; its
-- bytes are published as they are. All return the event's id. BEGIN ATOMIC binds every name now: the search_path of
-- the writer decides nothing.
CREATE FUNCTION outbox.enqueue(subject text, payload bytea, key text DEFAULT NULL, headers jsonb DEFAULT NULL,
                               content_type text DEFAULT 'application/octet-stream', event_id uuid DEFAULT gen_random_uuid()) RETURNS uuid
    LANGUAGE sql BEGIN ATOMIC
    INSERT INTO outbox.event (event_id, subject, key, payload, content_type, headers)
    VALUES (enqueue.event_id, enqueue.subject, enqueue.key, enqueue.payload, enqueue.content_type, enqueue.headers);
    SELECT enqueue.event_id; -- RETURNING would need the right to read
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
-- Capture: a table's changes become events, with no application code at all.

-- What attach was asked for, one row per table.
CREATE TABLE outbox.attached (
    target      regclass    PRIMARY KEY,
    subject     text        NOT NULL,
    key         text,
    columns     text[],
    watch       text[],
    operations  text[]      NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- The SQL expression that fills template from the row with alias r: {column} becomes outbox.token(r.column),
-- {op} the past tense of the operation. Only attach calls it.
CREATE FUNCTION outbox.fill_template(target regclass, template text, r text, op text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part  text[];
    parts text[] := '{}';
    seen  integer := 0;
BEGIN
    FOR part IN SELECT regexp_matches(template, '\{([^{}]+)\}|([^{}]+)', 'g') LOOP
        IF part[2] IS NOT NULL THEN
            seen := seen + length(part[2]);
            parts := parts || quote_literal(part[2]);
            CONTINUE;
        END IF;
        seen := seen + length(part[1]) + 2;
        IF part[1] = 'op' THEN
            parts := parts || quote_literal(CASE op WHEN 'insert' THEN 'inserted' WHEN 'update' THEN 'updated' ELSE 'deleted' END);
            CONTINUE;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = part[1] AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION 'template % names column "%", which % does not have', template, part[1], target
                USING ERRCODE = 'undefined_column', HINT = 'Placeholders are {column} and {op}.';
        END IF;
        parts := parts || format('outbox.token(%s.%I::text)', r, part[1]);
    END LOOP;
    IF seen <> length(template) OR seen = 0 THEN
        RAISE EXCEPTION 'template "%" has an unmatched brace or is empty', template
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Placeholders are {column} and {op}.';
    END IF;
    RETURN 'concat(' || array_to_string(parts, ', ') || ')';
END $$;

-- detach undoes attach: triggers, function, entry. Says whether there was anything.
CREATE FUNCTION outbox.detach(target regclass) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t    record;
    fn   oid;
    base text := (SELECT nspname || '_capture' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'outbox.event'::regclass);
BEGIN
    FOR t IN SELECT tgname, tgfoid FROM pg_trigger WHERE tgrelid = target AND NOT tgisinternal
                AND tgname IN (base || '_insert', base || '_update', base || '_delete') LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', t.tgname, target);
        fn := t.tgfoid;
    END LOOP;
    IF fn IS NOT NULL THEN
        EXECUTE format('DROP FUNCTION %s', fn::regprocedure);
    END IF;
    DELETE FROM outbox.attached a WHERE a.target = detach.target;
    RETURN fn IS NOT NULL;
END $$;

-- attach makes every INSERT, UPDATE and DELETE on target insert its events, one INSERT per statement
-- through transition tables. It writes one trigger function for the table, which \sf shows.
--   subject     template, e.g. users.{id}.updated or users.{id}.{op}
--   key         template; defaults to the primary key's columns joined by dots
--   columns     of the payload, a JSON object; defaults to the whole row (the old one for a DELETE)
--   watch       an UPDATE counts only if one of these changed; defaults to any change. One that changed nothing never counts
--   operations  of insert, update, delete
-- An UPDATE that changes the subject or the key tells both, the new and the old. The function is SECURITY
-- DEFINER, so that the application needs no right on the outbox. It works as the owner of the outbox, whoever called
-- attach, if they may act as that one: not as a superuser that happened to. Casts of the table's own types run in it, so
-- the owner of an attached table can do what the owner of the outbox can.
CREATE FUNCTION outbox.attach(target regclass, subject text, key text DEFAULT NULL, columns text[] DEFAULT NULL,
                              watch text[] DEFAULT NULL, operations text[] DEFAULT '{insert,update,delete}') RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    own     text := (SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = 'outbox.event'::regclass);
    name    text := (SELECT n.nspname || '.' || c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target);
    fn      text := 'capture_' || left(regexp_replace(name, '[^A-Za-z0-9]+', '_', 'g'), 40) || '_' || left(md5(name), 8);
    op      text;
    col     text;
    body    text := '';
    select_ text;
    changed text;
    moved   text;
    keeper  oid;
BEGIN
    IF (SELECT relkind NOT IN ('r', 'p') FROM pg_class WHERE oid = target) THEN
        RAISE EXCEPTION '% is not a table', target USING ERRCODE = 'wrong_object_type';
    END IF;
    IF name LIKE own || '.%' THEN
        RAISE EXCEPTION '% belongs to the outbox itself', target USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF coalesce(cardinality(operations), 0) = 0 OR NOT operations <@ '{insert,update,delete}' THEN
        RAISE EXCEPTION 'operations are insert, update and delete, not %', operations USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH col IN ARRAY coalesce(columns, '{}') || coalesce(watch, '{}') LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = col AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION '% has no column "%"', target, col USING ERRCODE = 'undefined_column';
        END IF;
    END LOOP;
    IF NOT outbox.is_subject(regexp_replace(attach.subject, '\{[^{}]+\}', 'x', 'g')) THEN
        RAISE EXCEPTION 'subject "%" is not made of literal tokens and {column} placeholders', attach.subject
            USING ERRCODE = 'invalid_parameter_value', HINT = 'For example users.{id}.updated; subjects beginning with $, _INBOX or _OUTBOX. are reserved.';
    END IF;
    IF key IS NULL THEN
        SELECT string_agg(format('{%s}', a.attname), '.' ORDER BY k.n) INTO key
          FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
          JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
         WHERE i.indrelid = target AND i.indisprimary;
    END IF;

    FOREACH op IN ARRAY operations LOOP
        -- One SELECT list for a row alias; %1$s is the alias.
        select_ := format('%s, %s, convert_to(%s::text, ''UTF8''), %L::jsonb',
            outbox.fill_template(target, attach.subject, '%1$s', op),
            coalesce(outbox.fill_template(target, key, '%1$s', op), 'NULL'),
            CASE WHEN columns IS NULL THEN '(to_jsonb(%1$s) - ''outbox#n'')'
                 ELSE '(SELECT to_jsonb("outbox#p") FROM (SELECT ' || (SELECT string_agg(format('%%1$s.%I', c), ', ') FROM unnest(columns) c) || ') AS "outbox#p")' END,
            jsonb_build_object('Outbox-Op', op));
        IF op IN ('insert', 'delete') THEN
            body := body || format(E'    IF TG_OP = %L THEN\n        INSERT INTO outbox.event (subject, key, payload, headers)\n        SELECT %s\n          FROM %s AS "outbox#row";\n    END IF;\n',
                upper(op), format(select_, '"outbox#row"'), CASE op WHEN 'insert' THEN 'new_rows' ELSE 'old_rows' END);
            CONTINUE;
        END IF;
        -- Odd aliases, since a column may be called n or o. The transition tables hold old and new rows in one order, so their numbers pair them: no primary key needed.
        changed := CASE WHEN watch IS NULL THEN '"outbox#old" *<> "outbox#new"'
            ELSE (SELECT format('ROW(%s)::record *<> ROW(%s)::record', string_agg(format('"outbox#old".%I', c), ', '), string_agg(format('"outbox#new".%I', c), ', ')) FROM unnest(watch) c) END;
        SELECT coalesce(format('ROW(%s)::record *<> ROW(%s)::record', string_agg(format('"outbox#old".%I', m), ', '), string_agg(format('"outbox#new".%I', m), ', ')), 'false')
          INTO moved
          FROM (SELECT DISTINCT (regexp_matches(attach.subject || coalesce(key, ''), '\{([^{}]+)\}', 'g'))[1] AS m) AS used WHERE m <> 'op';
        body := body || format(E'    IF TG_OP = ''UPDATE'' THEN\n        INSERT INTO outbox.event (subject, key, payload, headers)\n'
            '        SELECT "outbox#event".*\n'
            '          FROM (SELECT row_number() OVER () AS "outbox#n", * FROM old_rows) AS "outbox#old"\n'
            '          JOIN (SELECT row_number() OVER () AS "outbox#n", * FROM new_rows) AS "outbox#new" USING ("outbox#n")\n'
            '         CROSS JOIN LATERAL (SELECT %s UNION ALL SELECT %s WHERE %s) AS "outbox#event"\n'
            '         WHERE %s;\n    END IF;\n',
            format(select_, '"outbox#new"'), format(select_, '"outbox#old"'), moved, changed);
    END LOOP;

    PERFORM outbox.detach(target);
    EXECUTE format(E'CREATE FUNCTION outbox.%I() RETURNS trigger\n    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$\nBEGIN\n%s    RETURN NULL;\nEND $capture$',
        fn, body);
    EXECUTE format('REVOKE ALL ON FUNCTION outbox.%I() FROM PUBLIC', fn);
    SELECT c.relowner INTO keeper FROM pg_class c WHERE c.oid = 'outbox.event'::regclass AND has_schema_privilege(c.relowner, c.relnamespace, 'CREATE')
       AND pg_has_role(c.relowner, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END);
    IF FOUND THEN
        EXECUTE format('ALTER FUNCTION outbox.%I() OWNER TO %I', fn, pg_get_userbyid(keeper));
    END IF;
    FOREACH op IN ARRAY operations LOOP
        EXECUTE format('CREATE TRIGGER %I AFTER %s ON %s REFERENCING %s FOR EACH STATEMENT EXECUTE FUNCTION outbox.%I()',
            own || '_capture_' || op, upper(op), target,
            CASE op WHEN 'insert' THEN 'NEW TABLE AS new_rows' WHEN 'delete' THEN 'OLD TABLE AS old_rows'
                    ELSE 'OLD TABLE AS old_rows NEW TABLE AS new_rows' END, fn);
    END LOOP;
    INSERT INTO outbox.attached (target, subject, key, columns, watch, operations)
    VALUES (attach.target, attach.subject, attach.key, attach.columns, attach.watch, attach.operations);
    RETURN fn;
END $$;

-- They refuse whoever has no right on the outbox anyway; nobody else needs them.
REVOKE ALL ON FUNCTION outbox.attach(regclass, text, text, text[], text[], text[]), outbox.detach(regclass),
                       outbox.fill_template(regclass, text, text, text) FROM PUBLIC;
