-- base_insert: appends to the log of bases. A unique violation on base_pkey means that another relay appended first. Durable
-- whatever the database's default is, since messages are published by it.
INSERT INTO outbox.base (n, stream, stream_created, from_position, base, reason, relay)
SELECT $1::bigint, $2::text, $3::timestamptz, $4::bigint, $5::bigint, $6::text, $7::text
  FROM (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable;
