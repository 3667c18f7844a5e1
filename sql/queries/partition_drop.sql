-- partition_drop: drops the shell of partition $1, which was emptied.
SELECT outbox.drop_shell($1::text);
