-- pause: pauses all targets, or none if one is the id of a job that does not exist; then it returns no row. It wakes a
-- sleeping relay, which then pauses at once.
--   $1 targets  $2 seconds, or NULL until resumed  $3 reason  $4 author, empty for the role
-- Plan expected: job_pkey, once for each target that is a job.
WITH requested AS (
    SELECT name FROM unnest($1::text[]) AS name
), inserted AS (
    INSERT INTO outbox.pause (target, paused, until, reason, author)
    SELECT name, true, clock_timestamp() + make_interval(secs => $2::float8), $3::text, coalesce(nullif($4::text, ''), session_user)
      FROM requested
     WHERE NOT EXISTS (SELECT FROM requested AS a
                        WHERE a.name <> 'relay' AND a.name NOT LIKE 'consumer:%'
                          AND NOT EXISTS (SELECT FROM outbox.job AS j WHERE j.id = a.name::uuid))
    RETURNING target, reason, author, role, at, until
)
SELECT m.*, pg_notify('outbox.wake', '')::text FROM inserted AS m;
