-- paused: the pause of target $1, or no row. A relay asks after it has polled, at most once a second while it is awake.
-- Plan expected: pause_target backward, one row.
SELECT target, reason, author, role, at, until
  FROM (SELECT * FROM outbox.pause WHERE target = $1::text ORDER BY n DESC LIMIT 1) AS p
 WHERE paused AND (until IS NULL OR until > clock_timestamp());
