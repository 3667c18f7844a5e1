-- partition_drop: see outbox.drop_partition. $1 name
SELECT outbox.drop_partition($1::text);
