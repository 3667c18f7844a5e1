-- dead_parked: parked events by position, without payload and headers, and whether a person has decided about each.
--   $1 after this position  $2 up to this one  $3 this position alone, or 0  $4 event id, or NULL  $5 the reason, or a part
--   of the detail  $6 regular expression for the subject  $7 parked since  $8 parked until  $9 rows at most
-- Empty texts and NULLs match everything. The length of a payload is known without reading it.
-- Plan expected, also on tables that were never analyzed: the page by parked_pkey, then decision_pkey and event_pkey of
-- one partition for each row. An anti join instead of the flag took 100 s for 16,000 rows where the planner had no
-- statistics. The sum position + 0 keeps the planner from estimating a narrow range.
WITH page AS MATERIALIZED (
    SELECT position, id, event_id, subject, reason, detail, relay, parked_at
      FROM outbox.parked
     WHERE position > $1::bigint AND position + 0 <= $2::bigint AND reason <> 'displaced'
       AND ($3::bigint = 0 OR position = $3::bigint)
       AND ($4::uuid IS NULL OR event_id = $4::uuid)
       AND ($5::text = '' OR reason = $5::text OR strpos(detail, $5::text) > 0)
       AND ($6::text = '' OR subject ~ $6::text)
       AND ($7::timestamptz IS NULL OR parked_at >= $7::timestamptz)
       AND ($8::timestamptz IS NULL OR parked_at <= $8::timestamptz)
     ORDER BY position
     LIMIT $9::bigint
)
SELECT p.position, p.event_id, p.subject, coalesce(e.key, '') AS key, p.reason, p.detail, p.relay, p.parked_at,
       coalesce(octet_length(e.payload), 0) AS size, d.number IS NOT NULL AS decided
  FROM page AS p
  LEFT JOIN LATERAL (SELECT key, payload FROM outbox.event WHERE id = p.id LIMIT 1) AS e ON true
  LEFT JOIN LATERAL (SELECT number FROM outbox.decision WHERE source = 'parked' AND number = p.position LIMIT 1) AS d ON true
 ORDER BY p.position;
