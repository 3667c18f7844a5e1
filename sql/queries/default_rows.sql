-- default_rows: how many events are beyond the last partition, in the default one, counted up to 1000: ids were drawn
-- faster than partitions were created. Reads the parent, because only the owner may read a partition.
-- Plan expected: event_pkey of the default partition.
SELECT count(*) FROM (
    SELECT FROM outbox.event
     WHERE id >= (SELECT max(to_key) FROM outbox.partition WHERE family = 'event') LIMIT 1000) AS e;
