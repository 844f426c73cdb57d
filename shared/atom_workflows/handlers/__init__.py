"""What each function does with a request: one module a function, so that none imports what only another needs."""
