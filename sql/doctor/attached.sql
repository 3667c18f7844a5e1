-- attached: each attached table: whether it exists, which columns named by attach are missing, for which operations the
-- trigger is missing or does not fire, and how many rows were written. Reads outbox.attached and the catalogs.
SELECT coalesce(c.oid::regclass::text, a.target::oid::text) AS name, c.oid IS NOT NULL AS exists, a.subject,
       coalesce((SELECT array_agg(n ORDER BY n)
                   FROM (SELECT unnest(a.columns || a.watch) AS n
                         UNION
                         SELECT (regexp_matches(a.subject || coalesce(a.key, ''), '\{([^{}]+)\}', 'g'))[1]) AS named
                  WHERE n <> 'op' AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attname = n AND attnum > 0 AND NOT attisdropped)), '{}') AS lost,
       coalesce((SELECT array_agg(op ORDER BY op)
                   FROM unnest(a.operations) AS op
                  WHERE NOT EXISTS (SELECT FROM pg_trigger AS t
                                     WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
                                       AND t.tgname LIKE '%\_capture\_' || op)), '{}') AS silent,
       coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0) AS writes,
       extract(epoch FROM clock_timestamp() - a.attached_at)::float8 AS age
  FROM outbox.attached AS a
  LEFT JOIN pg_class AS c ON c.oid = a.target::oid
  LEFT JOIN pg_stat_all_tables AS s ON s.relid = c.oid
 ORDER BY 1;
