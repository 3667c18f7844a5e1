-- roles_status: the four roles, whether each exists, and its members.
SELECT want.name, r.oid IS NOT NULL AS exists,
       ARRAY(SELECT m.rolname::text FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member
              WHERE a.roleid = r.oid GROUP BY m.rolname ORDER BY m.rolname) AS members
  FROM unnest('{outbox_writer,outbox_relay,outbox_auditor,outbox_owner}'::text[]) WITH ORDINALITY AS want(name, n)
  LEFT JOIN pg_roles r ON r.rolname = want.name
 ORDER BY want.n;
