"""The functions' ways in: one module a function, so that none imports what only another needs.

`entry` reads a request and `delivery` says what becomes of its event; `start`, `dispatcher` and `checker` give it
to the coordinator.
"""
