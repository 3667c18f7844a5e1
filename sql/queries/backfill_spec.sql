-- backfill_spec: see the function. $1 table  $2 subject  $3 key  $4 columns  $5 operation  $6 condition  $7 events, at most; all but $1 and $5 may be NULL
SELECT outbox.backfill_spec($1::text::regclass, $2::text, $3::text, $4::text[], $5::text, $6::text, $7::bigint);
