-- status: the state of the outbox for stream $1.
--   planned    the last position that the plan assigned
--   acked      the position of the last receipt
--   unplanned  committed events without a position: fresh ones, and late ones whose transactions have ended
--   parked     events that wait for a decision; unpublished counts displaced positions too
--   oldest     when the oldest event that is not acknowledged was inserted
-- Counting unplanned events reads the index entries of all of them, which is fast even for millions.
-- Plan expected: batch_pkey and receipt_pkey backward, event_pkey for "id > head", event_xid_id for late rows.
WITH cursor AS MATERIALIZED (
    SELECT last_position, head, coalesce(late_from, snapshot) AS base, xid, greatest(late_after, (SELECT settled FROM outbox.cluster ORDER BY n DESC LIMIT 1), 0) AS after, relay, planned_at
      FROM outbox.batch ORDER BY first_position DESC LIMIT 1
), receipt AS (
    SELECT position, sequence, acked_at FROM outbox.receipt WHERE stream = $1::text ORDER BY id DESC LIMIT 1
), late AS (
    SELECT e.created_at
      FROM cursor c CROSS JOIN LATERAL pg_snapshot_xip(c.base) AS x
     CROSS JOIN LATERAL (SELECT created_at FROM outbox.event WHERE xid = x AND id > c.after AND id <= c.head) AS e
    UNION ALL
    SELECT e.created_at
      FROM cursor c
     CROSS JOIN LATERAL (SELECT created_at FROM outbox.event
                          WHERE xid >= pg_snapshot_xmax(c.base) AND xid < c.xid
                            AND id + 0 > c.after AND id + 0 <= c.head) AS e
), unacked AS (
    SELECT e.created_at
      FROM outbox.batch b CROSS JOIN LATERAL unnest(b.ids) AS r
     CROSS JOIN LATERAL (SELECT created_at FROM outbox.event WHERE id >= lower(r) AND id < upper(r) ORDER BY id LIMIT 1) AS e
     WHERE b.last_position > coalesce((SELECT position FROM receipt), 0)
     ORDER BY b.first_position LIMIT 1
)
SELECT c.last_position AS planned,
       coalesce(r.position, 0) AS acked,
       coalesce(r.sequence, 0) AS sequence,
       r.acked_at,
       (SELECT count(*) FROM outbox.event WHERE id > c.head) + (SELECT count(*) FROM late) AS unplanned,
       (SELECT count(*) FROM outbox.parked WHERE reason <> 'displaced')
           - (SELECT count(*) FROM outbox.decision WHERE source = 'parked') AS parked,
       (SELECT count(*) FROM outbox.parked) AS unpublished,
       least((SELECT created_at FROM unacked), (SELECT min(created_at) FROM late),
             (SELECT created_at FROM outbox.event WHERE id > c.head ORDER BY id LIMIT 1)) AS oldest,
       clock_timestamp() AS now,
       c.relay, c.planned_at,
       coalesce((SELECT a.application_name || ' (pid ' || l.pid || ')'
                   FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
                  WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('outbox.leader', 0) LIMIT 1), '') AS leader,
       EXISTS (SELECT FROM pg_locks l
                WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND l.mode = 'ExclusiveLock'
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended('outbox.wake', 0)) AS asleep
  FROM cursor c LEFT JOIN receipt r ON true;
