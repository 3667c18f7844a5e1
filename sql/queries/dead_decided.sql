-- dead_decided: the decisions about numbers $2 of source $1.
-- Plan expected: decision_pkey for each number; the LIMIT ensures it.
SELECT d.number, d.copy, d.decided_at
  FROM unnest($2::bigint[]) AS n(number)
 CROSS JOIN LATERAL (SELECT number, copy, decided_at FROM outbox.decision WHERE source = $1::text AND number = n.number LIMIT 1) AS d;
