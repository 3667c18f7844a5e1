-- extend: makes partitions ahead, so that no writer ever needs the default one. Returns how many it made.
SELECT outbox.extend();
