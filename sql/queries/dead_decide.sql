-- dead_decide: records what a person decided about numbers of one source, and returns those that nobody had decided
-- about before.
--   $1 source  $2 numbers in ascending order  $3 action  $4 event ids of the copies, empty texts for none
-- Concurrent calls wait for each other at every number, so each number has one winner. The commit is synchronous,
-- whatever the default of the database, because a dead letter is deleted next.
-- Plan expected: decision_pkey.
INSERT INTO outbox.decision (source, number, action, copy)
SELECT $1::text, d.number, $3::text, nullif(d.copy, '')::uuid
  FROM (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                                     ELSE current_setting('synchronous_commit') END, true)) AS durable(setting)
 CROSS JOIN unnest($2::bigint[], $4::text[]) AS d(number, copy)
 WHERE durable.setting IS NOT NULL
 ORDER BY d.number
    ON CONFLICT (source, number) DO NOTHING
RETURNING number;
