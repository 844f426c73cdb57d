"""The ports on the real services: the only files that import google.* or requests.

There is a package for each service, and `system` for this machine. They share `http`, `grpc_calls` and
`own_credentials`.
"""
