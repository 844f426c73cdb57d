"""What is published and received.

`internal` events, what asks for a run (`start`), the `fields` of both, the `envelope` in which a request brings them,
and `dead_letters`.
"""
