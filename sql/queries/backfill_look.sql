-- backfill_look: see the function. $1 spec. Reads the whole table.
SELECT rows, coalesce(subject, ''), coalesce(key, ''), payload FROM outbox.backfill_look($1::jsonb);
