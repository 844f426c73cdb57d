"""The pure core: values and decisions. Standard library, no I/O, no clock.

In reading order: `durations` and `run_ids`; the `workflow` as the user wrote it, and the `graph` that is made of it;
`states`, and `records` of runs and steps; `transitions`, what happens to a step, with its `timeouts` and `polling`;
`retention`, `consistency` and `oddities` of a run.
"""
