-- job_announce: names this session after the job that it runs, for job_list. The session ends with its last statement,
-- even if its client was killed earlier. $1 kind  $2 id
SELECT set_config('application_name', 'outbox ' || $1::text || ' ' || $2::text, false);
