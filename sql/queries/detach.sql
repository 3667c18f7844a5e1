-- detach: see outbox.detach. $1 table
SELECT outbox.detach($1::text::regclass);
