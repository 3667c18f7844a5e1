-- job_start: records a new job. $1 kind  $2 spec
INSERT INTO outbox.job (kind, spec) VALUES ($1::text, $2::jsonb) RETURNING id, started_by, started_at;
