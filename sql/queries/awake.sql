-- awake: releases the lock that sleep took, so that writers stop calling NOTIFY.
SELECT pg_advisory_unlock(hashtextextended('outbox.wake', 0));
