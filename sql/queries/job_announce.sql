-- job_announce: names this session after the job that it does, $1 kind and $2 id, for which job_list looks. It ends with its last
-- statement, though its client may have been killed before.
SELECT set_config('application_name', 'outbox ' || $1::text || ' ' || $2::text, false);
