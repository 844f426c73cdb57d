"""The functions' handlers, in one module each.

No handler imports modules that only another handler needs. `entry` reads a request, and `delivery` decides whether its
event is acknowledged; `start`, `dispatcher` and `checker` pass the event to the coordinator.
"""
