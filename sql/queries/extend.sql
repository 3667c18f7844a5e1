-- extend: creates one partition ahead in a family if one is needed, and returns how many it created.
--   $1 seconds that events are kept  $2 event, batch or receipt
SELECT outbox.extend(keep => make_interval(secs => $1::float8), of_family => $2::text, max_new => 1);
