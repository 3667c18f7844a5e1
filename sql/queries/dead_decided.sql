-- dead_decided: what was decided about numbers $2 of source $1. Plan expected: per number decision_pkey; the limit keeps it so.
SELECT d.number, d.copy, d.decided_at
  FROM unnest($2::bigint[]) AS n(number)
 CROSS JOIN LATERAL (SELECT number, copy, decided_at FROM outbox.decision WHERE source = $1::text AND number = n.number LIMIT 1) AS d;
