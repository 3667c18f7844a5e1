-- oldest: the first position of the batch that the table's oldest event is in; 0 when the table is empty or that event has no
-- position yet. Plan expected: event_pkey forward, batch_ids.
SELECT coalesce(min(first_position), 0) FROM outbox.batch WHERE ids @> (SELECT min(id) FROM outbox.event);
