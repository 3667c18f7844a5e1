-- lock: takes a session lock that nobody else uses, and returns the backend. $1 name of the lock.
SELECT pg_backend_pid(), pg_try_advisory_lock(hashtextextended($1::text, 0));
