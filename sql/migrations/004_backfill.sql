-- Backfill: events for the rows that a table has already, page by page along its primary key. Rows are locked FOR SHARE in the
-- transaction that inserts their events. A change of a row holds a stronger lock from before its own event is inserted until it
-- commits, so the ids of both events follow each other as the versions do: an old version never comes after a newer one. (FOR KEY
-- SHARE does not conflict with an UPDATE that leaves the key alone, and would not do.) Everything runs in the rights of whoever calls it.

-- Raises an error unless filter is one condition on the rows of source. As it stands it must be all of a WHERE, and so must it be in parentheses:
-- then it can neither end them, nor the statement, nor add a clause. A cursor takes one statement only, and nothing is run.
CREATE FUNCTION outbox.check_filter(source text, filter text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    form   text;
    looked refcursor;
BEGIN
    FOREACH form IN ARRAY ARRAY[E'SELECT FROM %s AS "outbox#row" WHERE %s\n', E'SELECT FROM %s AS "outbox#row" WHERE (%s\n)'] LOOP
        OPEN looked FOR EXECUTE format(form, source, filter);
        CLOSE looked;
    END LOOP;
EXCEPTION WHEN syntax_error OR invalid_cursor_definition OR datatype_mismatch OR undefined_column OR undefined_table OR undefined_function OR undefined_object
              OR undefined_parameter OR grouping_error OR windowing_error OR feature_not_supported OR invalid_text_representation THEN
    RAISE EXCEPTION 'condition %: %', filter, SQLERRM USING ERRCODE = SQLSTATE,
        HINT = 'Want one condition on the columns, as WHERE takes it: active AND team = 7. What is not in pg_catalog is named with its schema.';
END $$;

-- The texts that a backfill is built of. Checked every time: a spec is a row of a table, its author may be another, and tables change.
--   source, columns, key   what is read, the columns of the primary key, and their values as text[]
--   after, until           the values in $1 and $2, to compare with columns
--   list, filter           the SELECT list of the event, and the condition
--   path                   schemas of the operators that the primary key is sorted by, for the search_path
--   names                  of the columns of the primary key
CREATE FUNCTION outbox.backfill_parts(spec jsonb, OUT source text, OUT columns text, OUT key text, OUT after text, OUT until text,
                                      OUT list text, OUT filter text, OUT path text, OUT names text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target regclass := to_regclass(spec->>'table');
BEGIN
    IF target IS NULL THEN
        RAISE EXCEPTION 'there is no table % any more', spec->>'table' USING ERRCODE = 'undefined_table';
    END IF;
    PERFORM outbox.check_target(target);
    source := CASE (SELECT relkind FROM pg_class WHERE oid = target) WHEN 'p' THEN '' ELSE 'ONLY ' END || target;
    SELECT array_agg(a.attname ORDER BY k.n), string_agg(format('"outbox#row".%I', a.attname), ', ' ORDER BY k.n),
           format('ARRAY[%s]', string_agg(format('"outbox#row".%I::text', a.attname), ', ' ORDER BY k.n)),
           string_agg(format('($1[%s])::%s', k.n, t.name), ', ' ORDER BY k.n), string_agg(format('($2[%s])::%s', k.n, t.name), ', ' ORDER BY k.n),
           concat('pg_catalog', string_agg(DISTINCT ', ' || quote_ident(o.nspname), '') FILTER (WHERE o.nspname <> 'pg_catalog'), ', pg_temp')
      INTO names, columns, key, after, until, path
      FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam AND m.amname = 'btree'
     CROSS JOIN LATERAL unnest(i.indkey, i.indclass) WITH ORDINALITY AS k(attnum, opclass, n)
      JOIN pg_attribute AS a ON a.attrelid = target AND a.attnum = k.attnum
     CROSS JOIN LATERAL format_type(a.atttypid, a.atttypmod) AS t(name)
      JOIN pg_opclass AS p ON p.oid = k.opclass
      JOIN pg_amop AS w ON w.amopfamily = p.opcfamily AND w.amopstrategy = 5 AND w.amoplefttype = p.opcintype AND w.amoprighttype = p.opcintype
      JOIN pg_operator AS g ON g.oid = w.amopopr JOIN pg_namespace AS o ON o.oid = g.oprnamespace
     WHERE i.indrelid = target AND i.indisprimary AND k.n <= i.indnkeyatts;
    IF names IS NULL THEN
        RAISE EXCEPTION '% has no primary key to go along', target USING ERRCODE = 'invalid_table_definition',
            HINT = format('Run ALTER TABLE %s ADD PRIMARY KEY (column, …), or make one of a unique index on columns that are NOT NULL: ALTER TABLE %1$s ADD PRIMARY KEY USING INDEX name.', target);
    END IF;
    IF spec->'primary_key' <> to_jsonb(names) THEN
        RAISE EXCEPTION 'the primary key of % is another one than when this backfill began: (%), not %', target, array_to_string(names, ', '), spec->'primary_key'
            USING ERRCODE = 'invalid_table_definition', HINT = 'Start a new one.';
    END IF;
    list := outbox.event_list(target, spec->>'subject', spec->>'key',
        CASE jsonb_typeof(spec->'columns') WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(spec->'columns')) END, spec->>'op', '"outbox#row"');
    PERFORM outbox.check_filter(source, coalesce(spec->>'where', 'true'));
    filter := E'(' || coalesce(spec->>'where', 'true') || E'\n)';
END $$;

-- What a backfill is asked for, checked and completed: its job's spec. What is NULL is as the table's attach has it.
CREATE FUNCTION outbox.backfill_spec(target regclass, subject text, key text, columns text[], op text, filter text, most bigint) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    known outbox.attached;
    spec  jsonb;
    part  record;
    plan  json;
BEGIN
    PERFORM outbox.check_target(target);
    SELECT * INTO known FROM outbox.attached AS a WHERE a.target = backfill_spec.target;
    IF subject IS NULL AND known.subject IS NULL THEN
        RAISE EXCEPTION '% is not attached: nothing says what its events are', target USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Attach it first, so that what changes meanwhile has its events too: outbox attach --table %s --subject …; or, where the application inserts those itself, say what the events are: --subject.', target);
    END IF;
    IF op NOT IN ('insert', 'update') THEN
        RAISE EXCEPTION 'the operation of a backfill is insert or update, not %', op USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT (has_any_column_privilege(target, 'SELECT') AND has_any_column_privilege(target, 'UPDATE')) THEN
        RAISE EXCEPTION '% may not lock rows of %', current_user, target USING ERRCODE = 'insufficient_privilege',
            HINT = format('SELECT … FOR SHARE takes SELECT on the table and UPDATE on one column of it, whichever; nothing is updated: GRANT SELECT, UPDATE (column) ON %s TO %I.', target, current_user);
    END IF;
    spec := jsonb_build_object('table', (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target),
        'subject', coalesce(subject, known.subject), 'key', coalesce(key, known.key, outbox.key_template(target)), 'columns', coalesce(columns, known.columns),
        'op', op, 'where', filter, 'limit', most, 'attached', known.subject IS NOT NULL);
    part := outbox.backfill_parts(spec);
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %s', part.source) INTO plan; -- knows a table that was never analyzed, or has grown since
    RETURN spec || jsonb_build_object('primary_key', part.names,
        'total', least((plan->0->'Plan'->>'Plan Rows')::numeric::bigint, CASE WHEN filter IS NULL THEN most END)); -- rows to look at, about
END $$;

-- Where a step ends: the key of the last row that it looks at (NULL: there is none), the number of rows, and whether they are the last ones. That is
-- where as many rows as a page has meet the condition, or span rows were looked at. Locks nothing.
CREATE FUNCTION outbox.backfill_reach(part record, after text[], page integer, span integer, OUT until text[], OUT looked bigint, OUT ended boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('search_path', part.path, true);
    EXECUTE format('SELECT s.key, s.n, s.n < $3 AND s.hits < $2
                      FROM (SELECT %s AS key, row_number() OVER () AS n, count(*) FILTER (WHERE %s) OVER (ROWS UNBOUNDED PRECEDING) AS hits
                              FROM (SELECT * FROM %s AS "outbox#row" WHERE %s ORDER BY %s LIMIT $3) AS "outbox#row") AS s
                     ORDER BY s.hits >= $2 DESC, CASE WHEN s.hits >= $2 THEN s.n ELSE -s.n END LIMIT 1',
                   part.key, part.filter, part.source, CASE WHEN after IS NULL THEN 'true' ELSE format('(%s) > (%s)', part.columns, part.after) END, part.columns)
       INTO until, looked, ended USING after, page, span;
    looked := coalesce(looked, 0);
    ended := coalesce(ended, true);
END $$;

-- What a backfill would do, done without a lock or an event: how many rows there are, and the first event.
CREATE FUNCTION outbox.backfill_look(spec jsonb, OUT rows bigint, OUT subject text, OUT key text, OUT payload bytea)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    part record := outbox.backfill_parts(spec);
BEGIN
    EXECUTE format('SELECT least(count(*), $1) FROM %s AS "outbox#row" WHERE %s', part.source, part.filter) INTO rows USING (spec->>'limit')::bigint;
    EXECUTE format('SELECT %s FROM %s AS "outbox#row" WHERE %s ORDER BY %s LIMIT 1', part.list, part.source, part.filter, part.columns) INTO subject, key, payload;
END $$;

-- One step of a backfill: events for the next rows, page at most, in key order, and where the next step goes on: behind the last key that was
-- looked at, whatever became of its row since, so that one whose key changes under our eyes moves nothing. Rows that do not
-- meet the condition count against sixteen pages. A row that somebody else holds is waited for 100 ms, shorter than deadlock_timeout:
-- whoever waits for us is not the one that a deadlock ends. Then this fails as a whole (55P03), to be tried again.
-- With skip the one row of a page of 1 is left for the end when it is held, and noted in place.
-- Plan expected: the index of the primary key, twice. A unique violation on step_pkey: another runner took the step.
CREATE FUNCTION outbox.backfill_step(job uuid, n bigint, page integer, skip boolean) RETURNS outbox.step
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '100ms' SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' AS $$
DECLARE
    spec   jsonb := (SELECT j.spec FROM outbox.job AS j WHERE j.id = backfill_step.job AND j.kind = 'backfill');
    part   record;
    last   outbox.step;
    room   bigint;
    after  text[]; -- NULL: from the first row on
    until  text[]; -- NULL: the table is empty behind after
    looked bigint;
    made   bigint := 0;
    ended  boolean;
    held   jsonb; -- keys that were left
    here   text;
BEGIN
    part := outbox.backfill_parts(spec);
    PERFORM set_config('search_path', part.path, true);
    SELECT * INTO last FROM outbox.step AS s WHERE s.job = backfill_step.job AND s.n = backfill_step.n - 1;
    IF NOT FOUND AND n > 1 THEN
        RAISE EXCEPTION 'backfill % has no step %', job, n - 1 USING ERRCODE = 'invalid_parameter_value';
    END IF;
    after := (SELECT array_agg(v ORDER BY o) FROM jsonb_array_elements_text(last.place->'key') WITH ORDINALITY AS w(v, o));
    held := coalesce(last.place->'held', '[]');
    ended := coalesce((last.place->>'ended')::boolean, false);
    room := (spec->>'limit')::bigint - coalesce(last.events, 0);
    here := CASE WHEN ended THEN format('(%s) = (%s)', part.columns, part.until)
                 WHEN after IS NULL THEN format('(%s) <= (%s)', part.columns, part.until)
                 ELSE format('(%s) > (%s) AND (%s) <= (%s)', part.columns, part.after, part.columns, part.until) END;
    page := least(page, coalesce(room, page));
    IF ended THEN
        until := ARRAY(SELECT jsonb_array_elements_text(held->0));
        held := held - 0;
    ELSE
        SELECT * INTO until, looked, ended FROM outbox.backfill_reach(part, after, page, CASE WHEN spec->>'where' IS NULL THEN page ELSE 16 * page END);
    END IF;
    IF until IS NOT NULL THEN
        EXECUTE format('WITH "outbox#page" (subject, key, payload, headers) AS MATERIALIZED (
                            SELECT %s FROM %s AS "outbox#row" WHERE %s AND %s ORDER BY %s LIMIT $3 FOR SHARE OF "outbox#row" %s)
                        INSERT INTO outbox.event (subject, key, payload, headers) SELECT * FROM "outbox#page"',
                       part.list, part.source, here, part.filter, part.columns, CASE WHEN skip THEN 'SKIP LOCKED' END) USING after, until, room;
        GET DIAGNOSTICS made = ROW_COUNT;
        IF skip AND made = 0 THEN
            held := held || jsonb_build_array(to_jsonb(until));
        END IF;
    END IF;
    INSERT INTO outbox.step (job, n, place, seen, events, done)
    VALUES (backfill_step.job, backfill_step.n,
            jsonb_build_object('key', CASE WHEN last.place->>'ended' = 'true' THEN last.place->'key' ELSE to_jsonb(coalesce(until, after)) END, 'ended', ended, 'held', held),
            coalesce(last.seen, 0) + coalesce(looked, 0), coalesce(last.events, 0) + made,
            ended AND held = '[]' OR coalesce(made >= room, false))
    RETURNING * INTO last;
    RETURN last;
END $$;
REVOKE ALL ON FUNCTION outbox.check_filter(text, text), outbox.backfill_parts(jsonb), outbox.backfill_reach(record, text[], integer, integer),
    outbox.backfill_spec(regclass, text, text, text[], text, text, bigint), outbox.backfill_look(jsonb),
    outbox.backfill_step(uuid, bigint, integer, boolean) FROM PUBLIC;
