-- held: in which backend this statement runs, and whether that one holds the lock. $1 name.
SELECT pg_backend_pid(),
       EXISTS (SELECT FROM pg_locks l
                WHERE l.pid = pg_backend_pid() AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
                  AND (l.classid::bigint << 32) | l.objid::bigint = hashtextextended($1::text, 0)) AS held;
