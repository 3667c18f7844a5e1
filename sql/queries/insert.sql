-- insert: inserts any number of events, in the given order.
--   $1 event ids  $2 subjects  $3 keys  $4 payloads  $5 content types  $6 headers as JSON  $7 originals
-- Empty texts in $3, $6 and $7 mean none. The casts from text let every driver pass plain array literals.
INSERT INTO outbox.event (event_id, subject, key, payload, content_type, headers, resend_of)
SELECT e.id::uuid, e.subject, nullif(e.key, ''), e.payload, e.content_type, nullif(e.headers, '')::jsonb, nullif(e.original, '')::uuid
  FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::text[], $7::text[])
    AS e(id, subject, key, payload, content_type, headers, original);
