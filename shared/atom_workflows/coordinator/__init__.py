"""Load, decide, save, publish.

In reading order: the `services` that everything is given, `budget` and `turns`; `loading` and `outbox`; `commits`, by
which steps change, `close`, `retention` and `retry`; `run_graph` and `seed`, which write a run's documents; `repair`;
the handlers `start`, `dispatch` (with `advance` and its `circuit_breaker`) and `checker`; a user's `commands`.
"""
