-- Operating: which partitions may be dropped, and dropping them; long work that can be killed; pauses.

-- ---------------------------------------------------------------------------------------------
-- Retention. A partition is dropped whole, when nobody can need it any more. Nothing is ever deleted row by row.

-- partitions says of each partition what it is, and why:
--   net      the default one. It should be empty; when it is not, that of the events is waiting, kept or due as well
--   ahead    nothing is in it yet
--   open     it is being filled
--   waiting  it is full, but something in it is not planned, not acknowledged by the stream, or parked and not decided about
--   kept     all of it is done with, the last of it not longer ago than keep
--   due      it may be dropped
--   emptied  it was dropped, but for its empty shell: see drop_shell
-- Rows whose transaction the cursor's snapshot saw as finished are planned up to id head (queries/plan.sql). What is acknowledged is
-- told by the newest receipt of all: a stream that was made again begins with low positions, and holds everything back until it
-- has been filled again. A batch is needed as long as the table has an event of it,
-- and the last one always is. Receipts are kept twice as long: they say when an event partition was done with.
CREATE FUNCTION outbox.partitions(keep interval DEFAULT '7 days')
    RETURNS TABLE (family text, name text, from_key bigint, to_key bigint, made_at timestamptz, state text, why text, done_at timestamptz, bytes bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH cursor AS MATERIALIZED (
    SELECT first_position, last_position, head, snapshot, late_from IS NOT NULL AS paging,
           coalesce((SELECT settled FROM outbox.cluster ORDER BY n DESC LIMIT 1), 0) AS settled
      FROM outbox.batch ORDER BY first_position DESC LIMIT 1
), receipt AS MATERIALIZED (
    SELECT id, position, acked_at FROM outbox.receipt ORDER BY id DESC LIMIT 1
), made AS MATERIALIZED (
    SELECT p.family, p.name, p.from_key, p.to_key, p.made_at, d.family IS NOT NULL AS emptied, to_regclass(format('outbox.%I', p.name)) AS leaf
      FROM outbox.partition AS p LEFT JOIN outbox.dropped AS d USING (family, from_key)
     WHERE p.to_key > coalesce((SELECT max(o.to_key) FROM outbox.dropped AS o WHERE o.family = p.family), 0) OR to_regclass(format('outbox.%I', p.name)) IS NOT NULL
), hole AS ( -- what lies between partitions lies in the net
    SELECT lag(to_key, 1, 0::bigint) OVER (ORDER BY from_key) AS low, from_key AS high FROM made WHERE family = 'event' AND leaf IS NOT NULL
    UNION ALL
    SELECT max(to_key), 9223372036854775807 FROM made WHERE family = 'event'
), net AS MATERIALIZED (
    SELECT min(i.low) AS low, max(i.high) AS high
      FROM hole AS h CROSS JOIN LATERAL (SELECT min(e.id) AS low, max(e.id) AS high FROM outbox.event AS e WHERE e.id >= h.low AND e.id < h.high) AS i
     WHERE h.low < h.high
), part AS MATERIALIZED (
    SELECT * FROM made
    UNION ALL
    SELECT 'event', 'event_default', low, high + 1, NULL, false, to_regclass('outbox.event_default') FROM net WHERE low IS NOT NULL
), event AS (
    SELECT p.*, c.head + 1 >= p.to_key AS closed,
           CASE WHEN c.paging OR c.settled + 1 < p.to_key AND x.last >= pg_snapshot_xmin(c.snapshot) THEN 'a transaction that is not planned yet, or was not long ago'
                WHEN b.position > coalesce(r.position, 0) THEN format('position %s is not acknowledged', b.position)
                WHEN u.n > 0 THEN format('%s parked events wait for a decision: outbox dead list', u.n) END AS why,
           (SELECT s.acked_at FROM outbox.receipt AS s WHERE s.position >= b.position ORDER BY s.position, s.id LIMIT 1) AS done_at,
           p.from_key > greatest(c.head, (SELECT max(id) FROM outbox.event)) AS ahead
      FROM part AS p CROSS JOIN cursor AS c LEFT JOIN receipt AS r ON true
     CROSS JOIN LATERAL (SELECT max(e.xid) AS last FROM outbox.event AS e WHERE e.id >= p.from_key AND e.id < p.to_key) AS x
     CROSS JOIN LATERAL (SELECT max(b.last_position) AS position FROM outbox.batch AS b WHERE b.ids && int8range(p.from_key, p.to_key)) AS b
     CROSS JOIN LATERAL (
        SELECT count(*) AS n FROM outbox.parked AS k
         WHERE k.id >= p.from_key AND k.id < p.to_key AND k.reason <> 'displaced'
           AND NOT EXISTS (SELECT FROM outbox.decision AS d WHERE d.source = 'parked' AND d.number = k.position)) AS u
     WHERE p.family = 'event' AND NOT p.emptied
), batch AS (
    SELECT p.*, c.first_position >= p.to_key AS closed, NULL::text AS why,
           (SELECT max(b.planned_at) FROM outbox.batch AS b WHERE b.first_position >= p.from_key AND b.first_position < p.to_key) AS done_at,
           p.from_key > c.last_position AS ahead,
           EXISTS (SELECT FROM outbox.batch AS b
                    WHERE b.first_position >= p.from_key AND b.first_position < p.to_key
                      AND upper(b.ids) > (SELECT min(e.from_key) FROM part AS e WHERE e.family = 'event' AND NOT e.emptied)) AS needed
      FROM part AS p CROSS JOIN cursor AS c
     WHERE p.family = 'batch' AND NOT p.emptied
), receipts AS (
    SELECT p.*, coalesce(r.id >= p.to_key, false) AS closed, NULL::text AS why,
           (SELECT s.acked_at FROM outbox.receipt AS s WHERE s.id >= p.from_key AND s.id < p.to_key ORDER BY s.id DESC LIMIT 1) AS done_at,
           p.from_key > coalesce(r.id, 0) AS ahead
      FROM part AS p LEFT JOIN receipt AS r ON true
     WHERE p.family = 'receipt' AND NOT p.emptied
), judged AS (
    SELECT family, name, from_key, to_key, made_at, leaf, CASE WHEN closed THEN why END AS why, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN why IS NOT NULL THEN 'waiting'
                WHEN done_at >= clock_timestamp() - keep THEN 'kept' ELSE 'due' END AS state
      FROM event
    UNION ALL
    SELECT family, name, from_key, to_key, made_at, leaf, why, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN needed OR done_at >= clock_timestamp() - keep THEN 'kept' ELSE 'due' END
      FROM batch
    UNION ALL
    SELECT family, name, from_key, to_key, made_at, leaf, why, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN done_at >= clock_timestamp() - 2 * keep THEN 'kept' ELSE 'due' END
      FROM receipts
    UNION ALL
    SELECT family, name, from_key, to_key, made_at, leaf, NULL, NULL, 'emptied' FROM part WHERE emptied AND leaf IS NOT NULL
    UNION ALL
    SELECT f, f || '_default', NULL, NULL, NULL, to_regclass(format('outbox.%I', f || '_default')), NULL, NULL, 'net'
      FROM unnest('{event,batch,receipt}'::text[]) AS f
     WHERE f <> 'event' OR (SELECT low FROM net) IS NULL
)
SELECT family, name, from_key, to_key, made_at, state, why, done_at, pg_total_relation_size(leaf)
  FROM judged ORDER BY array_position('{event,batch,receipt}', family), from_key NULLS LAST
$$;

-- empty_partition gives the space of a partition back, if it is due, and says whether it did. It locks that partition only, which no
-- writer uses any more, and gives up when it cannot have it at once. What it decides it decides under the lock, with a snapshot
-- taken under it. A transaction that has written to the partition and not ended holds the lock against it.
CREATE FUNCTION outbox.empty_partition(name text, keep interval DEFAULT '7 days') RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    part record;
    what text;
BEGIN
    IF NOT EXISTS (SELECT FROM outbox.partitions(keep) AS p WHERE p.name = empty_partition.name) THEN
        RAISE EXCEPTION 'there is no partition %', name USING ERRCODE = 'undefined_table';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    EXECUTE format('LOCK TABLE outbox.%I IN ACCESS EXCLUSIVE MODE', name);
    SELECT p.family, p.from_key, p.to_key INTO part FROM outbox.partitions(keep) AS p WHERE p.name = empty_partition.name AND p.state = 'due';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    what := CASE part.family WHEN 'event' THEN 'created_at' WHEN 'batch' THEN 'planned_at' ELSE 'acked_at' END;
    EXECUTE format('INSERT INTO outbox.dropped (family, from_key, to_key, n, bytes, oldest, newest)
                    SELECT %L, %s, %s, count(*), pg_total_relation_size(%L), min(%I), max(%I) FROM outbox.%I',
                   part.family, part.from_key, part.to_key, format('outbox.%I', name), what, what, name);
    EXECUTE format('TRUNCATE outbox.%I', name);
    RETURN true;
END $$;

-- drop_shell drops what empty_partition left, and says whether it did. It needs the whole table for a moment, so it gives up when it cannot have it at
-- once: a long transaction is not waited for, and nobody waits behind us for longer than the lock timeout.
CREATE FUNCTION outbox.drop_shell(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    part record;
    used boolean;
BEGIN
    SELECT p.family, p.from_key INTO part FROM outbox.partition AS p JOIN outbox.dropped AS d USING (family, from_key) WHERE p.name = drop_shell.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'partition % was not emptied', name USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE format('LOCK TABLE ONLY outbox.%I, outbox.%I IN ACCESS EXCLUSIVE MODE', part.family, name);
    EXECUTE format('SELECT EXISTS (SELECT FROM outbox.%I)', name) INTO used;
    IF used THEN -- by an id that was drawn long ago
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE outbox.%I', name); -- which detaches it, in two thirds of the time that writers wait for both
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION outbox.partitions(interval), outbox.empty_partition(text, interval), outbox.drop_shell(text) FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Long work, replay and backfill. Each step is one transaction that inserts events and its own record: where the work goes on, and
-- how many events it has made. Its primary key lets only one runner take a step, so work that is killed anywhere goes on where
-- it was, and two runners of one job do it once.
CREATE TABLE outbox.job (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    kind       text        NOT NULL CHECK (kind IN ('replay', 'backfill')),
    spec       jsonb       NOT NULL, -- what was asked for, with everything that had to be found out once
    started_by text        NOT NULL DEFAULT session_user,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE outbox.step (
    job    uuid        NOT NULL,
    n      bigint      NOT NULL, -- from 1, one more than the step before
    place  jsonb       NOT NULL, -- where the next step goes on
    seen   bigint      NOT NULL, -- rows looked at, of all steps so far
    events bigint      NOT NULL, -- events made, of all steps so far
    done   boolean     NOT NULL, -- there is no next step
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job, n)
);

-- Whether a copy was made of a parked event by a person's decision, so that nothing else was published of its original: a replay has to
-- take it, where it leaves every other copy out. A copy may have been parked once more, and copied again.
CREATE INDEX decision_copy ON outbox.decision (copy) WHERE copy IS NOT NULL;
CREATE FUNCTION outbox.is_mended(copy uuid) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH RECURSIVE back AS (
        SELECT is_mended.copy AS event_id, false AS original
         UNION ALL
        SELECT p.event_id, e.resend_of IS NULL
          FROM back JOIN outbox.decision AS d ON d.copy = back.event_id AND d.source = 'parked'
          JOIN outbox.parked AS p ON p.position = d.number
          LEFT JOIN outbox.event AS e ON e.id = p.id
    )
    SELECT EXISTS (SELECT FROM back WHERE original)
$$;
REVOKE ALL ON FUNCTION outbox.is_mended(uuid) FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Pauses, a log: the last row of a target holds. Targets are relay, a job's id, and consumer:name for what was told to NATS.
-- A pause ends by itself at its until, by the clock of the database; NULL is until resumed.
CREATE TABLE outbox.pause (
    n      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text        NOT NULL CHECK (target = 'relay' OR target ~ '^consumer:.' OR target ~ '^[0-9a-f-]{36}$'),
    paused boolean     NOT NULL,
    until  timestamptz,
    reason text        NOT NULL DEFAULT '',
    author text        NOT NULL DEFAULT session_user, -- who they say they are
    role   text        NOT NULL DEFAULT session_user, -- as whom the database knew them
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (paused OR until IS NULL)
);
CREATE INDEX pause_target ON outbox.pause (target, n);
