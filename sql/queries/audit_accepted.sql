-- audit_accepted: the sequences of a stream that a person has accepted, lowest first. $1 source.
-- Plan expected: decision_pkey.
SELECT number FROM outbox.decision WHERE source = $1::text AND action = 'accepted' ORDER BY number;
