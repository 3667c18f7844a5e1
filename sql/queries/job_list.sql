-- job_list: jobs with their last step, and whether a session runs them, newest first.
--   $1 id of one job, or NULL for all  $2 jobs at most
-- Plan expected: step_pkey backward for each.
SELECT j.id, j.kind, j.spec, j.started_by, j.started_at, coalesce(s.n, 0), coalesce(s.cursor, 'null'), coalesce(s.scanned, 0), coalesce(s.events, 0),
       coalesce(s.done, false), s.at,
       EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'outbox ' || j.kind || ' ' || j.id AND datname = current_database()) AS running
  FROM outbox.job AS j
  LEFT JOIN LATERAL (SELECT * FROM outbox.step WHERE job = j.id ORDER BY n DESC LIMIT 1) AS s ON true
 WHERE $1::uuid IS NULL OR j.id = $1::uuid
 ORDER BY j.started_at DESC LIMIT $2::int;
