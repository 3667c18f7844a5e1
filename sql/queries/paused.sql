-- paused: the pause of one target, if it has one. Asked by a relay after its looks, at most once a second while it is awake. $1 target.
-- Plan expected: pause_target backward, one row.
SELECT target, reason, author, role, at, until
  FROM (SELECT * FROM outbox.pause WHERE target = $1::text ORDER BY n DESC LIMIT 1) AS p
 WHERE paused AND (until IS NULL OR until > clock_timestamp());
