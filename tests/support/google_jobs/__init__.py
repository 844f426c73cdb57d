"""Batch, Cloud Run and Cloud Storage on loopback, as far as the runner uses them, by their documented rules.

Each request is held against Google's own discovery document of its API before it is answered.
"""
