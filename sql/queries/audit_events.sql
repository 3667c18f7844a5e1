-- audit_events: the rows that have one of the event ids $1. An audit asks for messages that differ from the plan.
-- Plan expected: event_by_event_id once for each of a few ids; for many, the whole table once.
SELECT id, event_id, subject, coalesce(key, '') FROM outbox.event WHERE event_id = ANY ($1::uuid[]);
