"""The only files that import google.* or requests: the ports on the real services."""
