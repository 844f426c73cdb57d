"""The handlers of a function's requests: one module a function, so that none imports what only another needs."""
