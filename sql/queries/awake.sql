-- awake: gives up what sleep took; writers stop to notify.
SELECT pg_advisory_unlock(hashtextextended('outbox.wake', 0));
