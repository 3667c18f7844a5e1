-- notify: what a writer does to wake a relay. $1 channel.
SELECT pg_notify($1::text, '');
