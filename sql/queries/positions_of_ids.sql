-- positions_of_ids: the range of positions that contains the events with ids from $1 through $2, and maybe others; NULL
-- if they have none.
-- Plan expected: batch_ids.
SELECT min(first_position), max(last_position) FROM outbox.batch WHERE ids && int8range($1::bigint, nullif($2::bigint, 9223372036854775807), '[]');
