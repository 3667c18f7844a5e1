-- adopt_lock: keeps writers out until the adoption commits, so that every row it sees is a restored or a finished one.
LOCK TABLE outbox.event IN SHARE MODE;
