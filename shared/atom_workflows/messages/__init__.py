"""The messages that the functions publish and receive.

These are `internal` events, requests for a run (`start`) and `dead_letters`. `fields` reads and checks the fields of a
message, and `envelope` unpacks a message from an HTTP request.
"""
