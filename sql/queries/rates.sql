-- rates: events per second that came and went in the last $2 seconds, for stream $1, and when the stream last
-- acknowledged one. Ids that were drawn count as events that came, so a rollback counts too.
-- Plan expected: event_pkey backward; batch_pkey and receipt_pkey backward over the same time.
WITH was AS (
    SELECT head, planned_at FROM outbox.batch WHERE planned_at <= clock_timestamp() - make_interval(secs => $2::float8)
     ORDER BY first_position DESC LIMIT 1
), now_acked AS (
    SELECT position, acked_at, stream_created FROM outbox.receipt WHERE stream = $1::text ORDER BY id DESC LIMIT 1
), was_acked AS (
    SELECT position FROM outbox.receipt WHERE stream = $1::text AND acked_at <= clock_timestamp() - make_interval(secs => $2::float8)
     ORDER BY id DESC LIMIT 1
)
SELECT greatest(coalesce((SELECT max(id) FROM outbox.event), 0) - coalesce((SELECT head FROM was), 0), 0) / $2::float8           AS came,
       greatest(coalesce((SELECT position FROM now_acked), 0) - coalesce((SELECT position FROM was_acked), 0), 0) / $2::float8  AS went,
       (SELECT acked_at FROM now_acked) AS acked_at, (SELECT stream_created FROM now_acked) AS stream_created, clock_timestamp() AS now;
