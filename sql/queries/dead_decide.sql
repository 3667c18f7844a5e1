-- dead_decide: a person's decision about what waits in one place, and which numbers nobody had decided about before.
--   $1 source  $2 numbers in ascending order  $3 replayed or dropped  $4 event ids of the copies, empty texts for none
-- Two at a time wait for each other here, number by number, so that each number is won once. The commit is durable where the
-- database's are not: a dead letter is deleted after it. Plan expected: decision_pkey.
INSERT INTO outbox.decision (source, number, action, copy)
SELECT $1::text, d.number, $3::text, nullif(d.copy, '')::uuid
  FROM (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                                     ELSE current_setting('synchronous_commit') END, true)) AS durable(setting)
 CROSS JOIN unnest($2::bigint[], $4::text[]) AS d(number, copy)
 WHERE durable.setting IS NOT NULL
 ORDER BY d.number
    ON CONFLICT (source, number) DO NOTHING
RETURNING number;
