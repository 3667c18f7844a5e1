-- attach: see outbox.attach. $1 table  $2 subject  $3 key or NULL  $4 columns or NULL  $5 watch or NULL  $6 operations
SELECT outbox.attach($1::text::regclass, $2, $3, $4::text[], $5::text[], $6::text[]);
