-- attached: the tables that have a capture trigger.
SELECT target::text, subject, coalesce(key, ''), coalesce(columns, '{}'), coalesce(watch, '{}'), operations, attached_at
  FROM outbox.attached ORDER BY target::text;
