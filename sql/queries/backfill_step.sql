-- backfill_step: see outbox.backfill_step.
--   $1 job  $2 number of the step  $3 rows at most  $4 true: leave the one row for the end if it is locked
SELECT n, cursor, scanned, events, done, at FROM outbox.backfill_step($1::uuid, $2::bigint, $3::integer, $4::boolean);
