"""The messages that are published and received.

`internal` events, requests for a run (`start`), the `fields` of both, the `envelope` in which an HTTP request carries
them, and `dead_letters`.
"""
