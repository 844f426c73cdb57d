"""Firestore: the Store port, on plain protocol messages."""
