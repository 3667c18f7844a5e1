-- wake_relay: wakes a sleeping relay, so that it finds what another session planned.
SELECT pg_notify('outbox.wake', '');
