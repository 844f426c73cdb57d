"""The implementations of the ports for the real services: the only files that import google.* or requests.

Each service has a package of its own, and `system` covers the local machine. The packages share `http`, `grpc_calls`
and `own_credentials`.
"""
