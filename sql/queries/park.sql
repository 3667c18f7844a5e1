-- park: parks an event that can never be published. Parking it twice is the same as once. The commit is synchronous,
-- whatever the default of the database, because a marker is published next.
INSERT INTO outbox.parked (position, id, event_id, subject, reason, detail, relay)
SELECT $1::bigint, $2::bigint, $3::uuid, $4::text, $5::text, $6::text, $7::text
  FROM (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable
ON CONFLICT (position) DO NOTHING;
