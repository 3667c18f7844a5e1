-- server: which server this is, how durable its commits are, and the role of this connection.
SELECT current_setting('server_version_num')::integer AS version_number,
       current_setting('server_version')              AS version,
       pg_is_in_recovery()                            AS standby,
       current_setting('fsync')                       AS fsync,
       current_setting('full_page_writes')            AS full_page_writes,
       current_setting('synchronous_commit')          AS synchronous_commit,
       current_user::text                             AS role,
       pg_has_role('pg_read_all_stats', 'USAGE')      AS sees_all,
       clock_timestamp()                              AS now;
