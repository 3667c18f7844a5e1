-- 003_operate: retention, jobs and pauses.

-- ---------------------------------------------------------------------------------------------
-- Retention: a partition is dropped as a whole, once nothing needs it. Rows are never deleted one by one.

-- partitions returns each partition with its state, and the reason why a full one waits:
--   default  the default partition. It should be empty; rows of events in it are reported as waiting, kept or due as well
--   ahead    nothing is in it yet
--   open     it is being filled
--   waiting  it is full, but an event in it is not planned, not acknowledged by the stream, or parked without a decision
--   kept     everything in it is finished, the last part of it less than keep ago
--   due      it may be dropped
--   emptied  it was truncated, but its empty table was not dropped yet: see drop_partition
-- Rows of transactions that the cursor's snapshot saw as finished are planned up to id head (queries/plan.sql). The
-- newest receipt of all streams decides what is acknowledged: a stream that was created again starts with low
-- positions, so it holds back every partition until it is filled again. A batch is kept as long as the table has one of
-- its events, the last batch always. Receipts are kept for twice as long, because they date the last need of an event
-- partition.
CREATE FUNCTION outbox.partitions(keep interval DEFAULT '7 days')
    RETURNS TABLE (family text, name text, from_key bigint, to_key bigint, created_at timestamptz, state text, reason text, done_at timestamptz, bytes bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
WITH cursor AS MATERIALIZED (
    SELECT first_position, last_position, head, snapshot, late_from IS NOT NULL AS paging,
           coalesce((SELECT settled FROM outbox.cluster ORDER BY n DESC LIMIT 1), 0) AS settled
      FROM outbox.batch ORDER BY first_position DESC LIMIT 1
), receipt AS MATERIALIZED (
    SELECT id, position, acked_at FROM outbox.receipt ORDER BY id DESC LIMIT 1
), listed AS MATERIALIZED (
    SELECT p.family, p.name, p.from_key, p.to_key, p.created_at, d.family IS NOT NULL AS emptied, to_regclass(format('outbox.%I', p.name)) AS leaf
      FROM outbox.partition AS p LEFT JOIN outbox.dropped AS d USING (family, from_key)
     WHERE p.to_key > coalesce((SELECT max(o.to_key) FROM outbox.dropped AS o WHERE o.family = p.family), 0) OR to_regclass(format('outbox.%I', p.name)) IS NOT NULL
), uncovered AS ( -- numbers between partitions are in the default partition
    SELECT lag(to_key, 1, 0::bigint) OVER (ORDER BY from_key) AS low, from_key AS high FROM listed WHERE family = 'event' AND leaf IS NOT NULL
    UNION ALL
    SELECT max(to_key), 9223372036854775807 FROM listed WHERE family = 'event'
), in_default AS MATERIALIZED (
    SELECT min(i.low) AS low, max(i.high) AS high
      FROM uncovered AS u CROSS JOIN LATERAL (SELECT min(e.id) AS low, max(e.id) AS high FROM outbox.event AS e WHERE e.id >= u.low AND e.id < u.high) AS i
     WHERE u.low < u.high
), part AS MATERIALIZED (
    SELECT * FROM listed
    UNION ALL
    SELECT 'event', 'event_default', low, high + 1, NULL, false, to_regclass('outbox.event_default') FROM in_default WHERE low IS NOT NULL
), event AS (
    SELECT p.*, c.head + 1 >= p.to_key AS closed,
           CASE WHEN c.paging OR c.settled + 1 < p.to_key AND x.last >= pg_snapshot_xmin(c.snapshot) THEN 'cannot confirm yet that every transaction in it is planned'
                WHEN b.position > coalesce(r.position, 0) THEN format('the stream has not acknowledged position %s', b.position)
                WHEN u.n > 0 THEN format('%s parked events wait for a decision; list them with: outbox dead list', u.n) END AS reason,
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
    SELECT p.*, c.first_position >= p.to_key AS closed, NULL::text AS reason,
           (SELECT max(b.planned_at) FROM outbox.batch AS b WHERE b.first_position >= p.from_key AND b.first_position < p.to_key) AS done_at,
           p.from_key > c.last_position AS ahead,
           EXISTS (SELECT FROM outbox.batch AS b
                    WHERE b.first_position >= p.from_key AND b.first_position < p.to_key
                      AND upper(b.ids) > (SELECT min(e.from_key) FROM part AS e WHERE e.family = 'event' AND NOT e.emptied)) AS needed
      FROM part AS p CROSS JOIN cursor AS c
     WHERE p.family = 'batch' AND NOT p.emptied
), receipts AS (
    SELECT p.*, coalesce(r.id >= p.to_key, false) AS closed, NULL::text AS reason,
           (SELECT s.acked_at FROM outbox.receipt AS s WHERE s.id >= p.from_key AND s.id < p.to_key ORDER BY s.id DESC LIMIT 1) AS done_at,
           p.from_key > coalesce(r.id, 0) AS ahead
      FROM part AS p LEFT JOIN receipt AS r ON true
     WHERE p.family = 'receipt' AND NOT p.emptied
), classified AS (
    SELECT family, name, from_key, to_key, created_at, leaf, CASE WHEN closed THEN reason END AS reason, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN reason IS NOT NULL THEN 'waiting'
                WHEN done_at >= clock_timestamp() - keep THEN 'kept' ELSE 'due' END AS state
      FROM event
    UNION ALL
    SELECT family, name, from_key, to_key, created_at, leaf, reason, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN needed OR done_at >= clock_timestamp() - keep THEN 'kept' ELSE 'due' END
      FROM batch
    UNION ALL
    SELECT family, name, from_key, to_key, created_at, leaf, reason, done_at,
           CASE WHEN ahead THEN 'ahead' WHEN NOT closed THEN 'open' WHEN done_at >= clock_timestamp() - 2 * keep THEN 'kept' ELSE 'due' END
      FROM receipts
    UNION ALL
    SELECT family, name, from_key, to_key, created_at, leaf, NULL, NULL, 'emptied' FROM part WHERE emptied AND leaf IS NOT NULL
    UNION ALL
    SELECT f, f || '_default', NULL, NULL, NULL, to_regclass(format('outbox.%I', f || '_default')), NULL, NULL, 'default'
      FROM unnest('{event,batch,receipt}'::text[]) AS f
     WHERE f <> 'event' OR (SELECT low FROM in_default) IS NULL
)
SELECT family, name, from_key, to_key, created_at, state, reason, done_at, pg_total_relation_size(leaf)
  FROM classified ORDER BY array_position('{event,batch,receipt}', family), from_key NULLS LAST
$$;

-- empty_partition truncates a partition that is due, and returns whether it did. It locks that partition alone, which
-- no writer uses any more, and fails if the lock is not available within 50 ms. It checks the state again under the
-- lock, with a snapshot taken under it: a transaction that wrote to the partition and has not ended keeps the lock
-- unavailable.
CREATE FUNCTION outbox.empty_partition(name text, keep interval DEFAULT '7 days') RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    part record;
    stamp text; -- the column that dates its rows
BEGIN
    IF NOT EXISTS (SELECT FROM outbox.partitions(keep) AS p WHERE p.name = empty_partition.name) THEN
        RAISE EXCEPTION 'partition % does not exist', name USING ERRCODE = 'undefined_table', HINT = 'List the partitions: outbox partitions.';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('outbox.extend', 0));
    EXECUTE format('LOCK TABLE outbox.%I IN ACCESS EXCLUSIVE MODE', name);
    SELECT p.family, p.from_key, p.to_key INTO part FROM outbox.partitions(keep) AS p WHERE p.name = empty_partition.name AND p.state = 'due';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    stamp := CASE part.family WHEN 'event' THEN 'created_at' WHEN 'batch' THEN 'planned_at' ELSE 'acked_at' END;
    EXECUTE format('INSERT INTO outbox.dropped (family, from_key, to_key, n, bytes, oldest, newest)
                    SELECT %L, %s, %s, count(*), pg_total_relation_size(%L), min(%I), max(%I) FROM outbox.%I',
                   part.family, part.from_key, part.to_key, format('outbox.%I', name), stamp, stamp, name);
    EXECUTE format('TRUNCATE outbox.%I', name);
    RETURN true;
END $$;

-- drop_partition drops a partition that empty_partition has emptied, and returns whether it did: not if a row has been
-- inserted since. It needs the whole table for a moment. If the lock is not available within 50 ms it fails, so it
-- never waits for a long transaction, and other sessions never wait longer than that for it.
CREATE FUNCTION outbox.drop_partition(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
DECLARE
    part record;
    used boolean;
BEGIN
    SELECT p.family, p.from_key INTO part FROM outbox.partition AS p JOIN outbox.dropped AS d USING (family, from_key) WHERE p.name = drop_partition.name;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'partition % has not been emptied', name USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Empty and drop the partitions that are due: outbox prune.';
    END IF;
    EXECUTE format('LOCK TABLE ONLY outbox.%I, outbox.%I IN ACCESS EXCLUSIVE MODE', part.family, name);
    EXECUTE format('SELECT EXISTS (SELECT FROM outbox.%I)', name) INTO used;
    IF used THEN -- a transaction has inserted an id that it drew long ago
        RETURN false;
    END IF;
    EXECUTE format('DROP TABLE outbox.%I', name); -- DETACH and DROP would lock writers out half as long again
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION outbox.partitions(interval), outbox.empty_partition(text, interval), outbox.drop_partition(text) FROM PUBLIC;

-- ---------------------------------------------------------------------------------------------
-- Jobs: replay and backfill.
--
-- Each step is one transaction that inserts events and a row of outbox.step: where the next step starts, and how many
-- events the job has made so far. The primary key lets only one runner take a step. So a job that is killed at any
-- moment continues where it was, and two runners of one job do its work once.
CREATE TABLE outbox.job (
    id         uuid        PRIMARY KEY DEFAULT gen_random_uuid(),
    kind       text        NOT NULL CHECK (kind IN ('replay', 'backfill')),
    spec       jsonb       NOT NULL, -- what was asked for, and everything that had to be determined once
    started_by text        NOT NULL DEFAULT session_user,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE outbox.step (
    job     uuid        NOT NULL,
    n       bigint      NOT NULL, -- from 1, one more than the step before
    cursor  jsonb       NOT NULL, -- where the next step starts
    scanned bigint      NOT NULL, -- rows or positions, by all steps so far
    events  bigint      NOT NULL, -- inserted, by all steps so far
    done    boolean     NOT NULL, -- there is no next step
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (job, n)
);

-- ---------------------------------------------------------------------------------------------
-- Pauses, a log: the last row of a target applies.
--
-- A target is relay, the id of a job, or consumer:name for a consumer that was paused in NATS. A pause ends at its
-- until, by the clock of the database; without one it lasts until somebody resumes the target.
CREATE TABLE outbox.pause (
    n      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    target text        NOT NULL CHECK (target = 'relay' OR target ~ '^consumer:.' OR target ~ '^[0-9a-f-]{36}$'),
    paused boolean     NOT NULL,
    until  timestamptz,
    reason text        NOT NULL DEFAULT '',
    author text        NOT NULL DEFAULT session_user, -- the name that the person gave
    role   text        NOT NULL DEFAULT session_user, -- the role that the database authenticated
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    CHECK (paused OR until IS NULL)
);
CREATE INDEX pause_target ON outbox.pause (target, n);
