-- plan: decides which events are next, gives them positions in id order, and returns them with the first position in
-- every row. The rows arrive in id order, but without ORDER BY, which would cost a quarter of the statement: the caller
-- checks.
--
--   $1 rows: at most so many events   $2 bytes: stop after so many bytes of payload (at least one event)
--   $3 name of the relay              $4 the caller knows that no row up to this id is fresh or late (0: knows nothing)
--   $5 the first position of any batch (0: knows none)
--
-- One statement, one snapshot, here called "now". The last batch is the cursor (head, snapshot):
--   fresh = rows with id > head
--   late  = rows with id <= head that the cursor's snapshot could not see
-- Nothing is missed. A row with a smaller id than a visible one drew its id earlier, so its transaction owned
-- an xid before the snapshot that saw the larger one (xid comes before id, CACHE 1). If that snapshot did not see
-- it, it was running: its xid is in xip, or at least xmax, for pg_snapshot_xmax is only the latest COMPLETED xid + 1.
-- It also owned its xid before the batch row drew its own, which bounds the scan above xmax.
--
-- More than $1 late rows are planned page by page: between two fixed snapshots the set is fixed, so the batch keeps the
-- older one (late_from, late_until) and how far the set is planned (late_after) until the set is done. Until then
-- nothing fresh is taken. Rows of transactions that end meanwhile are late for the newer snapshot, and are found after
-- the set.
--
-- $4 and $5 only limit which partitions are read: without them, each partition that is kept costs up to 20 us. Rows
-- that the cursor's snapshot could not see have xids of at least its xmin. A batch whose own xid is less had drawn its
-- head before that, so all these rows have larger ids than that head, for this cursor and for all later ones. (This
-- holds for batches of this statement; other statements copy the head of an older batch.)
--
-- Rows that came with a dump are never late (outbox.cluster.settled): their xids are another cluster's.
--
-- The caller runs it in a transaction of its own and uses the rows only after the commit. A unique violation on
-- batch_pkey means that another planner won.
--
-- Plan expected, also on tables that were never analyzed: batch_pkey backward for the cursor; per finished transaction
-- of xip event_xid_id (xid = x and id in range); event_xid_id for the range above xmax; event_pkey for fresh, and for
-- each chosen range, where ORDER BY and LIMIT rule out the other index. The sums (id + 0) rule out the primary key for
-- "id <= head".
WITH cursor AS MATERIALIZED (
    SELECT last_position, head, snapshot,
           coalesce(late_from, snapshot)                                             AS base,
           CASE WHEN late_from IS NULL THEN xid ELSE late_until END                  AS until,
           CASE WHEN late_from IS NULL THEN pg_current_snapshot() ELSE snapshot END  AS sees,
           greatest(late_after, (SELECT settled FROM outbox.cluster ORDER BY n DESC LIMIT 1), 0) AS after,
           late_from IS NOT NULL                                                     AS paging
      FROM outbox.batch
     WHERE first_position >= $5::bigint
     ORDER BY first_position DESC
     LIMIT 1
), late AS MATERIALIZED (
    SELECT l.*
      FROM cursor c
     CROSS JOIN LATERAL (
        SELECT x FROM pg_snapshot_xip(c.base) AS x WHERE pg_visible_in_snapshot(x, c.sees)) AS finished
     CROSS JOIN LATERAL (
        SELECT id, octet_length(payload) AS bytes
          FROM outbox.event
         WHERE xid = finished.x AND id > c.after AND id <= c.head AND id > $4::bigint
         ORDER BY id
         LIMIT $1::bigint + 1) AS l
    UNION ALL
    SELECT l.*
      FROM cursor c
     CROSS JOIN LATERAL (
        SELECT id, octet_length(payload) AS bytes
          FROM outbox.event
         WHERE xid >= pg_snapshot_xmax(c.base) AND xid < c.until
           AND id + 0 > c.after AND id + 0 <= c.head AND id > $4::bigint
           AND pg_visible_in_snapshot(xid, c.sees)
         ORDER BY id + 0
         LIMIT $1::bigint + 1) AS l
), fresh AS (
    SELECT f.*
      FROM cursor c
     CROSS JOIN LATERAL (
        SELECT id, octet_length(payload) AS bytes
          FROM outbox.event
         WHERE id > c.head AND id > $4::bigint
         ORDER BY id
         LIMIT $1::bigint) AS f
     WHERE NOT c.paging AND (SELECT count(*) FROM late) <= $1::bigint
), candidate AS MATERIALIZED (
    SELECT * FROM (SELECT * FROM late UNION ALL SELECT * FROM fresh) AS u ORDER BY id LIMIT $1::bigint
), size AS MATERIALIZED (
    SELECT sum(bytes) AS bytes FROM candidate
), next AS NOT MATERIALIZED (
    -- A running sum over every row would cost a third of the statement, and nearly always all rows fit.
    SELECT id FROM candidate WHERE (SELECT bytes FROM size) <= $2::bigint
    UNION ALL
    SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) - bytes AS before FROM candidate) AS c
     WHERE (SELECT bytes FROM size) > $2::bigint AND (before < $2::bigint OR before = 0)
), chosen AS (
    -- Adjacent ids form one range, which min, max and count reveal; a range per row would cost another third.
    SELECT count(*) AS n, max(id) AS last,
           CASE WHEN max(id) - min(id) + 1 = count(*) THEN int8multirange(int8range(min(id), max(id), '[]'))
                ELSE (SELECT range_agg(run.ids)
                        FROM (SELECT int8range(min(id), max(id), '[]') AS ids
                                FROM (SELECT id, id - row_number() OVER (ORDER BY id) AS island FROM next) AS i
                               GROUP BY island) AS run)
           END AS ids,
           count(*) FILTER (WHERE id <= (SELECT head FROM cursor)) AS n_late
      FROM next
), planned AS (
    INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot,
                              late_from, late_until, late_after, relay)
    SELECT c.last_position + 1, c.last_position + n.n, n.ids, greatest(n.last, c.head), c.snapshot_next,
           CASE WHEN more THEN c.base END, CASE WHEN more THEN c.until END, CASE WHEN more THEN n.last END,
           $3::text
      FROM (SELECT *, CASE WHEN paging THEN snapshot ELSE pg_current_snapshot() END AS snapshot_next FROM cursor) AS c
     CROSS JOIN chosen AS n
     CROSS JOIN LATERAL (SELECT n.n_late < (SELECT count(*) FROM late) AS more) AS m
     WHERE n.n > 0
    RETURNING first_position, planned_at, ids, xid AS own, pg_snapshot_xmin(coalesce(late_from, snapshot)) AS oldest
)
-- The decision needs only ids and sizes; the rows are then read by their ranges. Carrying them through the steps above
-- would cost half as much again. The ranges contain exactly the chosen rows: the snapshot is the same, and ids form one
-- range only if no other visible row is between them.
SELECT p.first_position, e.id, e.event_id, e.subject, e.key, e.payload, e.content_type,
       e.headers, e.resend_of, e.created_at, p.planned_at, p.own, p.oldest
  FROM planned AS p
 CROSS JOIN LATERAL unnest(p.ids) AS run(ids)
 CROSS JOIN LATERAL (
        SELECT id, event_id, subject, key, payload, content_type, headers, resend_of, created_at
          FROM outbox.event
         WHERE id >= lower(run.ids) AND id < upper(run.ids) AND id > $4::bigint
         ORDER BY id
         LIMIT $1::bigint) AS e;
