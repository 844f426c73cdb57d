"""The handlers of the functions: a module for each, so that no handler imports modules that only another handler needs.

`entry` reads a request and `delivery` decides whether its event is acknowledged; `start`, `dispatcher` and `checker`
pass it to the coordinator.
"""
