-- pauses: every pause in force. Reads the whole log, which has one row for each time that a person paused or resumed
-- something.
-- Plan expected: pause_target, all of it.
SELECT target, reason, author, role, at, until
  FROM (SELECT DISTINCT ON (target) * FROM outbox.pause ORDER BY target, n DESC) AS p
 WHERE paused AND (until IS NULL OR until > clock_timestamp())
 ORDER BY target;
