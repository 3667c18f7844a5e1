-- resume: ends the pauses of those targets that have one, and returns these targets. Wakes a paused relay.
--   $1 targets  $2 reason  $3 author, empty for the role
-- Plan expected: pause_target backward, once for each target.
WITH held AS (
    SELECT t.name
      FROM unnest($1::text[]) AS t(name)
     CROSS JOIN LATERAL (SELECT paused, until FROM outbox.pause WHERE target = t.name ORDER BY n DESC LIMIT 1) AS p
     WHERE p.paused AND (p.until IS NULL OR p.until > clock_timestamp())
), made AS (
    INSERT INTO outbox.pause (target, paused, reason, author)
    SELECT name, false, $2::text, coalesce(nullif($3::text, ''), session_user) FROM held
    RETURNING target
)
SELECT m.target, pg_notify('outbox.wake', '')::text FROM made AS m;
