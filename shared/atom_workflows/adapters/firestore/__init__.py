"""Firestore: the Store port, implemented with plain protocol messages."""
