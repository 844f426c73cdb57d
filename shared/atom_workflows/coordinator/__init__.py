"""Load, decide, save, publish.

In reading order: the `services` passed to everything, `limits` and `turns`; `loading` and `outbox`; `commits`, which
saves changes to steps, `close`, `retention` and `retry`; `preparation`, `run_graph` and `seed`, which write a run;
`repair`; the handlers `start`, `dispatch` (with `advance` and `submission`) and `checker`; and a
user's `commands`.
"""
