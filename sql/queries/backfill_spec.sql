-- backfill_spec: see outbox.backfill_spec. All but $1 and $5 may be NULL.
--   $1 table  $2 subject  $3 key  $4 columns  $5 operation  $6 condition  $7 events at most
SELECT outbox.backfill_spec($1::text::regclass, $2::text, $3::text, $4::text[], $5::text, $6::text, $7::bigint);
