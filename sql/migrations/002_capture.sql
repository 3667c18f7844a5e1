-- 002_capture: triggers that turn the changes of a table into events, without application code.

-- What attach was called with, one row per attached table.
CREATE TABLE outbox.attached (
    target      regclass    PRIMARY KEY,
    subject     text        NOT NULL,
    key         text,
    columns     text[],
    watch       text[],
    operations  text[]      NOT NULL,
    attached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- ---------------------------------------------------------------------------------------------
-- Parts of an event. attach and backfill share these functions, so their events are alike.

-- check_target raises an error unless the rows of target may become events.
CREATE FUNCTION outbox.check_target(target regclass) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT relkind NOT IN ('r', 'p') FROM pg_class WHERE oid = target) THEN
        RAISE EXCEPTION '% is not a table; want an ordinary or a partitioned table', target USING ERRCODE = 'wrong_object_type';
    END IF;
    IF (SELECT relnamespace FROM pg_class WHERE oid = target) = (SELECT relnamespace FROM pg_class WHERE oid = 'outbox.event'::regclass) THEN
        RAISE EXCEPTION '% belongs to the outbox itself; want a table of the application', target USING ERRCODE = 'invalid_parameter_value';
    END IF;
END $$;

-- key_template returns the default template of the key: the columns of the primary key joined by dots, or NULL if there
-- is no primary key.
CREATE FUNCTION outbox.key_template(target regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT string_agg(format('{%s}', a.attname), '.' ORDER BY k.n)
      FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(attnum, n)
      JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
     WHERE i.indrelid = target AND i.indisprimary AND k.n <= i.indnkeyatts
$$;

-- fill_template returns the SQL expression that fills template from the row with alias r: {column} becomes
-- outbox.token(r.column), {op} the past tense of the operation.
CREATE FUNCTION outbox.fill_template(target regclass, template text, r text, op text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part  text[];
    parts text[] := '{}';
    parsed  integer := 0; -- characters of template
BEGIN
    FOR part IN SELECT regexp_matches(template, '\{([^{}]+)\}|([^{}]+)', 'g') LOOP
        IF part[2] IS NOT NULL THEN
            parsed := parsed + length(part[2]);
            parts := parts || quote_literal(part[2]);
            CONTINUE;
        END IF;
        parsed := parsed + length(part[1]) + 2;
        IF part[1] = 'op' THEN
            parts := parts || quote_literal(CASE op WHEN 'insert' THEN 'inserted' WHEN 'update' THEN 'updated' ELSE 'deleted' END);
            CONTINUE;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = part[1] AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION 'template "%" names column "%", which % does not have', template, part[1], target
                USING ERRCODE = 'undefined_column', HINT = 'Placeholders are {column}, with a column of the table, and {op}.';
        END IF;
        parts := parts || format('outbox.token(%s.%I::text)', r, part[1]);
    END LOOP;
    IF parsed <> length(template) OR parsed = 0 THEN
        RAISE EXCEPTION 'template "%" is empty or has an unmatched brace', template
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Placeholders are {column}, with a column of the table, and {op}.';
    END IF;
    RETURN 'concat(' || array_to_string(parts, ', ') || ')';
END $$;

-- event_select_list returns the SELECT list that turns the row with alias r into an event: subject, key, payload,
-- headers.
CREATE FUNCTION outbox.event_select_list(target regclass, subject text, key text, columns text[], op text, r text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    col text;
BEGIN
    FOREACH col IN ARRAY coalesce(columns, '{}') LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = col AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION 'table % has no column "%"', target, col USING ERRCODE = 'undefined_column';
        END IF;
    END LOOP;
    IF NOT outbox.is_subject(regexp_replace(subject, '\{[^{}]+\}', 'x', 'g')) THEN
        RAISE EXCEPTION 'invalid subject "%": want literal tokens and {column} placeholders', subject
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Example: users.{id}.updated. Subjects that begin with $, _INBOX or _OUTBOX. are reserved.';
    END IF;
    RETURN format('%s, %s, convert_to(%s::text, ''UTF8''), %L::jsonb',
        outbox.fill_template(target, subject, r, op),
        CASE WHEN key IS NULL THEN 'NULL' ELSE outbox.fill_template(target, key, r, op) END,
        CASE WHEN columns IS NULL THEN format('(to_jsonb(%s) - ''outbox#n'')', r)
             ELSE '(SELECT to_jsonb("outbox#p") FROM (SELECT ' || (SELECT string_agg(format('%s.%I', r, c), ', ') FROM unnest(columns) c) || ') AS "outbox#p")' END,
        jsonb_build_object('Outbox-Op', op));
END $$;

-- ---------------------------------------------------------------------------------------------
-- Attach and detach.

-- detach removes what attach created: triggers, function and row of outbox.attached. It returns whether there were
-- triggers.
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

-- attach lets every INSERT, UPDATE and DELETE on target insert its events: one INSERT per statement, through
-- transition tables. It creates one trigger function for the table, which \sf shows, and returns its name.
--   subject     template, for example users.{id}.updated or users.{id}.{op}
--   key         template; defaults to the columns of the primary key joined by dots
--   columns     of the payload, a JSON object; defaults to the whole row (for a DELETE, the deleted row)
--   watch       only an UPDATE that changed one of these columns produces an event; defaults to all columns
--   operations  any of insert, update, delete
-- An UPDATE that changed no value produces no event. An UPDATE that changes the subject or the key produces two, of
-- the new row and of the old one. The function is SECURITY DEFINER, so that the application needs no right on the
-- outbox. It belongs to the owner of the outbox, if the caller may act as that role, and not to a superuser who happens
-- to call attach. Casts of the table's own types run in it, so the owner of an attached table can do what the owner of
-- the outbox can.
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
    changed text; -- condition: a watched column changed
    moved   text; -- condition: the subject or the key changed
    owner_  oid;
BEGIN
    PERFORM outbox.check_target(target);
    IF coalesce(cardinality(operations), 0) = 0 OR NOT operations <@ '{insert,update,delete}' THEN
        RAISE EXCEPTION 'invalid operations %: want one or more of insert, update, delete', operations USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH col IN ARRAY coalesce(watch, '{}') LOOP
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = col AND attnum > 0 AND NOT attisdropped) THEN
            RAISE EXCEPTION 'table % has no column "%"', target, col USING ERRCODE = 'undefined_column';
        END IF;
    END LOOP;
    key := coalesce(key, outbox.key_template(target));

    FOREACH op IN ARRAY operations LOOP
        IF op IN ('insert', 'delete') THEN
            body := body || format(E'    IF TG_OP = %L THEN\n        INSERT INTO outbox.event (subject, key, payload, headers)\n        SELECT %s\n          FROM %s AS "outbox#row";\n    END IF;\n',
                upper(op), outbox.event_select_list(target, attach.subject, key, columns, op, '"outbox#row"'), CASE op WHEN 'insert' THEN 'new_rows' ELSE 'old_rows' END);
            CONTINUE;
        END IF;
        -- The aliases contain a #, since a column may be called n or o. The transition tables hold old and new rows in
        -- the same order, so row numbers pair them without a primary key.
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
            outbox.event_select_list(target, attach.subject, key, columns, op, '"outbox#new"'),
            outbox.event_select_list(target, attach.subject, key, columns, op, '"outbox#old"'), moved, changed);
    END LOOP;

    PERFORM outbox.detach(target);
    EXECUTE format(E'CREATE FUNCTION outbox.%I() RETURNS trigger\n    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $capture$\nBEGIN\n%s    RETURN NULL;\nEND $capture$',
        fn, body);
    EXECUTE format('REVOKE ALL ON FUNCTION outbox.%I() FROM PUBLIC', fn);
    SELECT c.relowner INTO owner_ FROM pg_class c WHERE c.oid = 'outbox.event'::regclass AND has_schema_privilege(c.relowner, c.relnamespace, 'CREATE')
       AND pg_has_role(c.relowner, CASE WHEN current_setting('server_version_num')::integer < 160000 THEN 'MEMBER' ELSE 'SET' END);
    IF FOUND THEN
        EXECUTE format('ALTER FUNCTION outbox.%I() OWNER TO %I', fn, pg_get_userbyid(owner_));
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

-- PUBLIC gets no right: these functions fail for a role without rights on the outbox, and no other role needs them.
REVOKE ALL ON FUNCTION outbox.attach(regclass, text, text, text[], text[], text[]), outbox.detach(regclass),
                       outbox.fill_template(regclass, text, text, text), outbox.check_target(regclass), outbox.key_template(regclass),
                       outbox.event_select_list(regclass, text, text, text[], text, text) FROM PUBLIC;
