-- partition_drop: see outbox.drop_shell. $1 name
SELECT outbox.drop_shell($1::text);
