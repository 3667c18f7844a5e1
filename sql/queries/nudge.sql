-- nudge: wakes a relay that sleeps, so that it sees what others planned.
SELECT pg_notify('outbox.wake', '');
