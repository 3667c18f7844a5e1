-- unlock: releases the lock that lock.sql took. $1 name of the lock.
SELECT pg_advisory_unlock(hashtextextended($1::text, 0));
