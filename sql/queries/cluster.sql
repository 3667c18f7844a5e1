-- cluster: which cluster this is, on which timeline, and where the outbox lived last (n is 0 if nowhere). The timeline is that of
-- the log being written: the last checkpoint may still be one of the old timeline.
SELECT c.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer AS timeline,
       coalesce(l.n, 0), coalesce(l.system_identifier, 0), coalesce(l.timeline, 0), coalesce(l.settled, 0)
  FROM pg_control_system() AS c
  LEFT JOIN (SELECT n, system_identifier, timeline, settled FROM outbox.cluster ORDER BY n DESC LIMIT 1) AS l ON true;
