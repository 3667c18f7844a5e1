-- audit_known: which of some event ids the table has, and their rows. $1 event ids. Asked for messages that are not what the plan has
-- at their positions. Plan expected: event_by_event_id once for each id of a few; for many the whole table is read once.
SELECT id, event_id, subject, coalesce(key, '') FROM outbox.event WHERE event_id = ANY ($1::uuid[]);
