-- backfill_preview: see outbox.backfill_preview. $1 spec. Reads the whole table.
SELECT rows, coalesce(subject, ''), coalesce(key, ''), payload FROM outbox.backfill_preview($1::jsonb);
