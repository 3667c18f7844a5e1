-- detach: see the function. $1 table
SELECT outbox.detach($1::text::regclass);
