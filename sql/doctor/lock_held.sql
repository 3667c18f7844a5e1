-- lock_held: the backend that runs this statement, and whether it holds the lock. $1 name of the lock.
SELECT pg_backend_pid(),
       EXISTS (SELECT FROM pg_locks l
                WHERE l.pid = pg_backend_pid() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1::text, 0)) AS held;
