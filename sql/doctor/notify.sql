-- notify: sends what a writer sends to wake a relay. $1 channel.
SELECT pg_notify($1::text, '');
