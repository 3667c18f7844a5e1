-- quick: no JIT for the rest of the transaction. Sent in one round trip before what looks over many partitions, which the planner overrates.
SELECT set_config('jit', 'off', true);
