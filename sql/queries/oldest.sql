-- oldest: a position that no event of the table has an earlier one than; when the table has none that is planned, the one after the last.
-- Batches are dropped soon after their events, so the first that reaches the table's lowest id is found at once.
-- Plan expected: event_pkey forward, batch_pkey forward until the first row.
SELECT coalesce((SELECT b.first_position FROM outbox.batch AS b
                  WHERE upper(b.ids) > (SELECT min(id) FROM outbox.event) ORDER BY b.first_position LIMIT 1),
                (SELECT last_position + 1 FROM outbox.batch ORDER BY first_position DESC LIMIT 1));
