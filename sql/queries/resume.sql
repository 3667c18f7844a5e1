-- resume: ends the pauses of those targets that have one, and returns these targets. Wakes a paused relay.
--   $1 targets  $2 reason  $3 author, empty for the role
-- Plan expected: pause_target backward, once for each target.
WITH in_force AS (
    SELECT t.name
      FROM unnest($1::text[]) AS t(name)
     CROSS JOIN LATERAL (SELECT paused, until FROM outbox.pause WHERE target = t.name ORDER BY n DESC LIMIT 1) AS p
     WHERE p.paused AND (p.until IS NULL OR p.until > clock_timestamp())
), inserted AS (
    INSERT INTO outbox.pause (target, paused, reason, author)
    SELECT name, false, $2::text, coalesce(nullif($3::text, ''), session_user) FROM in_force
    RETURNING target
)
SELECT m.target, pg_notify('outbox.wake', '')::text FROM inserted AS m;
