-- 004_backfill: events for the rows that a table already has, page by page along its primary key.
--
-- A step locks its rows FOR SHARE in the transaction that inserts their events. A change of a row holds a stronger lock
-- from before its own event is inserted until it commits. So the ids of both events are in the order of the row's
-- versions: an old version never comes after a newer one. (FOR KEY SHARE would not do: it does not conflict with an
-- UPDATE that leaves the key alone.) Everything runs with the rights of the caller.

-- check_filter raises an error unless filter is one condition on the rows of source. It must parse as the whole WHERE
-- clause both without and with parentheses around it: then it cannot close the parentheses, end the statement, or add a
-- clause. A cursor takes one statement only, and opening it executes nothing.
CREATE FUNCTION outbox.check_filter(source text, filter text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    form   text;
    parsed refcursor;
BEGIN
    FOREACH form IN ARRAY ARRAY[E'SELECT FROM %s AS "outbox#row" WHERE %s\n', E'SELECT FROM %s AS "outbox#row" WHERE (%s\n)'] LOOP
        OPEN parsed FOR EXECUTE format(form, source, filter);
        CLOSE parsed;
    END LOOP;
EXCEPTION WHEN syntax_error OR invalid_cursor_definition OR datatype_mismatch OR undefined_column OR undefined_table OR undefined_function OR undefined_object
              OR undefined_parameter OR grouping_error OR windowing_error OR feature_not_supported OR invalid_text_representation THEN
    RAISE EXCEPTION 'invalid condition "%": %', filter, SQLERRM USING ERRCODE = SQLSTATE,
        HINT = 'Write one condition as in a WHERE clause, for example: active AND team = 7. Qualify names outside pg_catalog with their schema.';
END $$;

-- backfill_parts returns the pieces of SQL that a backfill is built from. It checks them on every call: the spec is a
-- row of a table, another role may have written it, and tables change.
--   source, columns, key   what is read, the columns of the primary key, and their values as text[]
--   after, until           the values of $1 and $2, to compare with columns
--   list, filter           the SELECT list of the event, and the condition
--   path                   search_path with the schemas of the operators that the primary key is sorted by
--   names                  of the columns of the primary key
CREATE FUNCTION outbox.backfill_parts(spec jsonb, OUT source text, OUT columns text, OUT key text, OUT after text, OUT until text,
                                      OUT list text, OUT filter text, OUT path text, OUT names text[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    target regclass := to_regclass(spec->>'table');
BEGIN
    IF target IS NULL THEN
        RAISE EXCEPTION 'table % no longer exists', spec->>'table' USING ERRCODE = 'undefined_table';
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
        RAISE EXCEPTION 'table % has no primary key, so it cannot be read page by page', target USING ERRCODE = 'invalid_table_definition',
            HINT = format('Add one: ALTER TABLE %s ADD PRIMARY KEY (column, ...). A unique index on NOT NULL columns will do: ALTER TABLE %1$s ADD PRIMARY KEY USING INDEX name.', target);
    END IF;
    IF spec->'primary_key' <> to_jsonb(names) THEN
        RAISE EXCEPTION 'the primary key of % has changed since this backfill started: want %, found %', target, spec->'primary_key', to_jsonb(names)
            USING ERRCODE = 'invalid_table_definition', HINT = 'Start a new backfill.';
    END IF;
    list := outbox.event_select_list(target, spec->>'subject', spec->>'key',
        CASE jsonb_typeof(spec->'columns') WHEN 'array' THEN ARRAY(SELECT jsonb_array_elements_text(spec->'columns')) END, spec->>'op', '"outbox#row"');
    PERFORM outbox.check_filter(source, coalesce(spec->>'where', 'true'));
    filter := E'(' || coalesce(spec->>'where', 'true') || E'\n)';
END $$;

-- backfill_spec checks the arguments of a backfill and returns the spec of its job. NULL means as in outbox.attached.
-- It also completes the spec with the primary key and the estimated number of rows to scan.
CREATE FUNCTION outbox.backfill_spec(target regclass, subject text, key text, columns text[], op text, filter text, max_events bigint) RETURNS jsonb
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
        RAISE EXCEPTION 'table % is not attached, so its subject is unknown', target USING ERRCODE = 'invalid_parameter_value',
            HINT = format('Attach the table first, so that changes during the backfill produce events too: outbox attach --table %s --subject SUBJECT. If the application inserts those events itself, run the backfill with --subject.', target);
    END IF;
    IF op NOT IN ('insert', 'update') THEN
        RAISE EXCEPTION 'invalid operation %: want insert or update', op USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF NOT (has_any_column_privilege(target, 'SELECT') AND has_any_column_privilege(target, 'UPDATE')) THEN
        RAISE EXCEPTION 'role % may not lock rows of %', current_user, target USING ERRCODE = 'insufficient_privilege',
            HINT = format('SELECT ... FOR SHARE requires SELECT on the table and UPDATE on any one of its columns, although nothing is updated. Run: GRANT SELECT, UPDATE (column) ON %s TO %I.', target, current_user);
    END IF;
    spec := jsonb_build_object('table', (SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.oid = target),
        'subject', coalesce(subject, known.subject), 'key', coalesce(key, known.key, outbox.key_template(target)), 'columns', coalesce(columns, known.columns),
        'op', op, 'where', filter, 'limit', max_events, 'attached', known.subject IS NOT NULL);
    part := outbox.backfill_parts(spec);
    EXECUTE format('EXPLAIN (FORMAT JSON) SELECT FROM %s', part.source) INTO plan; -- its estimate holds even for a table that was never analyzed or has grown since
    RETURN spec || jsonb_build_object('primary_key', part.names,
        'total', least((plan->0->'Plan'->>'Plan Rows')::numeric::bigint, CASE WHEN filter IS NULL THEN max_events END)); -- rows to scan, estimated
END $$;

-- backfill_step_end returns where a step ends: the key of the last row that it scans (NULL if there is none), the
-- number of rows scanned, and whether they are the last rows of the table. A step ends at the row where page rows have
-- met the condition, or after span rows. It locks nothing.
CREATE FUNCTION outbox.backfill_step_end(part record, after text[], page integer, span integer, OUT until text[], OUT scanned bigint, OUT ended boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM set_config('search_path', part.path, true);
    EXECUTE format('SELECT s.key, s.n, s.n < $3 AND s.hits < $2
                      FROM (SELECT %s AS key, row_number() OVER () AS n, count(*) FILTER (WHERE %s) OVER (ROWS UNBOUNDED PRECEDING) AS hits
                              FROM (SELECT * FROM %s AS "outbox#row" WHERE %s ORDER BY %s LIMIT $3) AS "outbox#row") AS s
                     ORDER BY s.hits >= $2 DESC, CASE WHEN s.hits >= $2 THEN s.n ELSE -s.n END LIMIT 1',
                   part.key, part.filter, part.source, CASE WHEN after IS NULL THEN 'true' ELSE format('(%s) > (%s)', part.columns, part.after) END, part.columns)
       INTO until, scanned, ended USING after, page, span;
    scanned := coalesce(scanned, 0);
    ended := coalesce(ended, true);
END $$;

-- backfill_preview returns what a backfill would do: for how many rows it would insert events, and the first event. It
-- takes no row lock and inserts nothing.
CREATE FUNCTION outbox.backfill_preview(spec jsonb, OUT rows bigint, OUT subject text, OUT key text, OUT payload bytea)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off AS $$
DECLARE
    part record := outbox.backfill_parts(spec);
BEGIN
    EXECUTE format('SELECT least(count(*), $1) FROM %s AS "outbox#row" WHERE %s', part.source, part.filter) INTO rows USING (spec->>'limit')::bigint;
    EXECUTE format('SELECT %s FROM %s AS "outbox#row" WHERE %s ORDER BY %s LIMIT 1', part.list, part.source, part.filter, part.columns) INTO subject, key, payload;
END $$;

-- backfill_step takes one step of a backfill: it inserts events for the next rows, at most page, in key order, and
-- records where the next step starts. That is after the last key that it scanned, whatever has become of that row
-- since, so a key that changes meanwhile shifts nothing. With a condition, a step scans at most sixteen pages of rows.
-- It waits up to 100 ms for a row that another transaction has locked. That is shorter than deadlock_timeout, so that a
-- transaction that waits for this one is never the victim of a deadlock. Then the whole step fails (55P03), and the
-- caller tries again. With skip and a page of 1, a locked row is instead recorded in cursor, and retried at the end.
-- Plan expected: the index of the primary key, twice. A unique violation on step_pkey means that another runner took
-- the step.
CREATE FUNCTION outbox.backfill_step(job uuid, n bigint, page integer, skip boolean) RETURNS outbox.step
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET row_security = off SET lock_timeout = '100ms' SET jit = off
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_sort = off
    SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' SET extra_float_digits = 1 SET bytea_output = 'hex' AS $$
DECLARE
    spec      jsonb := (SELECT j.spec FROM outbox.job AS j WHERE j.id = backfill_step.job AND j.kind = 'backfill');
    part      record;
    last      outbox.step;
    remaining bigint; -- events until the limit of the job
    after     text[]; -- NULL: start with the first row
    until     text[]; -- NULL: there is no row after 'after'
    scanned   bigint;
    inserted  bigint := 0;
    ended     boolean;
    skipped   jsonb; -- keys of rows that were locked and left for the end
    bounds    text; -- condition: the rows of this step
BEGIN
    part := outbox.backfill_parts(spec);
    PERFORM set_config('search_path', part.path, true);
    SELECT * INTO last FROM outbox.step AS s WHERE s.job = backfill_step.job AND s.n = backfill_step.n - 1;
    IF NOT FOUND AND n > 1 THEN
        RAISE EXCEPTION 'backfill % has no step %', job, n - 1 USING ERRCODE = 'invalid_parameter_value';
    END IF;
    after := (SELECT array_agg(v ORDER BY o) FROM jsonb_array_elements_text(last.cursor->'key') WITH ORDINALITY AS w(v, o));
    skipped := coalesce(last.cursor->'skipped', '[]');
    ended := coalesce((last.cursor->>'ended')::boolean, false);
    remaining := (spec->>'limit')::bigint - coalesce(last.events, 0);
    bounds := CASE WHEN ended THEN format('(%s) = (%s)', part.columns, part.until)
                 WHEN after IS NULL THEN format('(%s) <= (%s)', part.columns, part.until)
                 ELSE format('(%s) > (%s) AND (%s) <= (%s)', part.columns, part.after, part.columns, part.until) END;
    page := least(page, coalesce(remaining, page));
    IF ended THEN
        until := ARRAY(SELECT jsonb_array_elements_text(skipped->0));
        skipped := skipped - 0;
    ELSE
        SELECT * INTO until, scanned, ended FROM outbox.backfill_step_end(part, after, page, CASE WHEN spec->>'where' IS NULL THEN page ELSE 16 * page END);
    END IF;
    IF until IS NOT NULL THEN
        EXECUTE format('WITH "outbox#page" (subject, key, payload, headers) AS MATERIALIZED (
                            SELECT %s FROM %s AS "outbox#row" WHERE %s AND %s ORDER BY %s LIMIT $3 FOR SHARE OF "outbox#row" %s)
                        INSERT INTO outbox.event (subject, key, payload, headers) SELECT * FROM "outbox#page"',
                       part.list, part.source, bounds, part.filter, part.columns, CASE WHEN skip THEN 'SKIP LOCKED' END) USING after, until, remaining;
        GET DIAGNOSTICS inserted = ROW_COUNT;
        IF skip AND inserted = 0 THEN
            skipped := skipped || jsonb_build_array(to_jsonb(until));
        END IF;
    END IF;
    INSERT INTO outbox.step (job, n, cursor, scanned, events, done)
    VALUES (backfill_step.job, backfill_step.n,
            jsonb_build_object('key', CASE WHEN last.cursor->>'ended' = 'true' THEN last.cursor->'key' ELSE to_jsonb(coalesce(until, after)) END, 'ended', ended, 'skipped', skipped),
            coalesce(last.scanned, 0) + coalesce(scanned, 0), coalesce(last.events, 0) + inserted,
            ended AND skipped = '[]' OR coalesce(inserted >= remaining, false))
    RETURNING * INTO last;
    RETURN last;
END $$;
REVOKE ALL ON FUNCTION outbox.check_filter(text, text), outbox.backfill_parts(jsonb), outbox.backfill_step_end(record, text[], integer, integer),
    outbox.backfill_spec(regclass, text, text, text[], text, text, bigint), outbox.backfill_preview(jsonb),
    outbox.backfill_step(uuid, bigint, integer, boolean) FROM PUBLIC;
