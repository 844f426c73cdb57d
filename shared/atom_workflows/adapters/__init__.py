"""The only files that import google.* or requests: the ports on the real services.

A package for each service, `system` for this machine; `http`, `grpc_calls` and `own_credentials` are what they share.
"""
