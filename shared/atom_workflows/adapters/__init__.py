"""The implementations of the ports for the real services.

Only these files import google.* or requests. Each service has its own package, and `system` covers the local machine.
The packages share `http`, `grpc_calls` and `own_credentials`.
"""
