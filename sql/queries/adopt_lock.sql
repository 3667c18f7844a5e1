-- adopt_lock: blocks writers until the adoption commits, so that every row adopt sees was restored, or inserted by a
-- transaction that has ended.
LOCK TABLE outbox.event IN SHARE MODE;
