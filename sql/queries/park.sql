-- park: an event that can never be published. Parking twice is the same as once.
INSERT INTO outbox.parked (position, id, event_id, subject, reason, detail, relay)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (position) DO NOTHING;
