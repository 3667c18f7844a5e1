-- cluster: the identity and the timeline of this cluster, and the last entry of the log of clusters (n is 0 if there is
-- none). The timeline is that of the WAL being written: the last checkpoint may still name the old one.
SELECT c.system_identifier, ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer AS timeline,
       coalesce(l.n, 0), coalesce(l.system_identifier, 0), coalesce(l.timeline, 0), coalesce(l.settled, 0)
  FROM pg_control_system() AS c
  LEFT JOIN (SELECT n, system_identifier, timeline, settled FROM outbox.cluster ORDER BY n DESC LIMIT 1) AS l ON true;
