-- oldest_position: a position at or before the first one of every event in the table; the position after the last one
-- if no event is planned. Batches are dropped soon after their events, so the first batch that reaches the lowest id of
-- the table is found at once.
-- Plan expected: event_pkey forward, batch_pkey forward until the first row.
SELECT coalesce((SELECT b.first_position FROM outbox.batch AS b
                  WHERE upper(b.ids) > (SELECT min(id) FROM outbox.event) ORDER BY b.first_position LIMIT 1),
                (SELECT last_position + 1 FROM outbox.batch ORDER BY first_position DESC LIMIT 1));
