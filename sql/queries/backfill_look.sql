-- backfill_look: see outbox.backfill_look. $1 spec. Reads the whole table.
SELECT rows, coalesce(subject, ''), coalesce(key, ''), payload FROM outbox.backfill_look($1::jsonb);
