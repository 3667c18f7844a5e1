-- lock: takes a session lock of the caller's own and says in which backend. $1 name.
SELECT pg_backend_pid(), pg_try_advisory_lock(hashtextextended($1::text, 0));
