"""The ports' implementations for the real services: the only files that import google.* or requests.

Each service has a package, and `system` covers the local machine. They share `http`, `grpc_calls` and
`own_credentials`.
"""
