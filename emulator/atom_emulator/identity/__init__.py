"""A stand-in for Google's identity services: metadata server, token endpoint, impersonation and certificates."""
