-- jit_off: the planner overrates the statements of jobs so much that it would compile them: seconds for a page instead of 85 ms.
SELECT set_config('jit', 'off', false);
