-- attached: the attached tables, with the arguments of attach.
SELECT target::text, subject, coalesce(key, ''), coalesce(columns, '{}'), coalesce(watch, '{}'), operations, attached_at
  FROM outbox.attached ORDER BY target::text;
