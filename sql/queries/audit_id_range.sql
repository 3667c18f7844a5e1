-- audit_id_range: the lowest and the highest row id with a position from $1 through $2; 0 and 0 if there is none.
-- Plan expected: batch_pkey.
SELECT coalesce(min(lower(ids)), 0), coalesce(max(upper(ids)) - 1, 0)
  FROM outbox.batch
 WHERE first_position >= coalesce((SELECT first_position FROM outbox.batch WHERE first_position <= $1::bigint ORDER BY first_position DESC LIMIT 1), $1::bigint)
   AND first_position <= $2::bigint AND last_position >= $1::bigint AND NOT resend AND NOT isempty(ids);
