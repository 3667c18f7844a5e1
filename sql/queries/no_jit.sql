-- no_jit: turns JIT off until the end of the transaction. Sent in the same round trip before a statement over many
-- partitions, whose cost the planner overestimates.
SELECT set_config('jit', 'off', true);
