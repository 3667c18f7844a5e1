-- bases: the whole log of bases, oldest first. It has one row per stream and per repair, so it stays short.
SELECT n, stream, stream_created, from_position, base FROM outbox.base ORDER BY n;
