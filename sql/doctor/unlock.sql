-- unlock: gives up what lock took. $1 name.
SELECT pg_advisory_unlock(hashtextextended($1::text, 0));
