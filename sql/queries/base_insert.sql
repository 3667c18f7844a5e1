-- base_insert: appends to the log of bases. A unique violation on base_pkey means that another relay appended first.
-- The commit is synchronous, whatever the default of the database, because messages are published by this base next.
INSERT INTO outbox.base (n, stream, stream_created, from_position, base, reason, relay)
SELECT $1::bigint, $2::text, $3::timestamptz, $4::bigint, $5::bigint, $6::text, $7::text
  FROM (SELECT set_config('synchronous_commit', CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN 'on'
                                              ELSE current_setting('synchronous_commit') END, true)) AS durable;
